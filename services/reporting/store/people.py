"""People of accounts."""

from collections.abc import Iterable, Sequence

from services.reporting.store.paging import Page, page, read_cursor
from shared.events.state import PersonState
from shared.runtime.postgres.pool import Connection, Row
from shared.runtime.postgres.row_decoding import decode_rows

_UPSERT = """
INSERT INTO people (account, email, version, removed_at, state) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (account, email) DO UPDATE SET
    version = excluded.version, removed_at = excluded.removed_at, state = excluded.state
WHERE people.version < excluded.version
"""
_FIND = "SELECT state FROM people WHERE account = $1 AND email = $2"
_FIND_SEVERAL = """
SELECT email, state FROM people
WHERE (account, email) IN (SELECT * FROM unnest($1::text[], $2::text[]) AS wanted (account, email))
"""
_LIST = """
SELECT email, state FROM people
WHERE account = $1 AND email > $3 AND removed_at IS NULL AND email <> ALL($4::text[])
ORDER BY email LIMIT $2
"""


async def upsert_person(connection: Connection, state: PersonState) -> None:
    """Upsert the state unless the stored one is as new or newer."""
    row = (state.account, state.email, state.version, state.removed_at, state.model_dump_json())
    await connection.execute(_UPSERT, *row)


async def find_person(connection: Connection, account: str, email: str) -> PersonState | None:
    """Find a person of an account, removed or not."""
    state = await connection.fetchval(_FIND, account, email)
    return None if state is None else PersonState.model_validate_json(state)


async def find_people(connection: Connection, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], PersonState]:
    """Find people by pairs of account and e-mail; unknown ones are left out."""
    pairs = sorted(set(wanted))
    if not pairs:
        return {}
    rows = await connection.fetch(_FIND_SEVERAL, [one[0] for one in pairs], [one[1] for one in pairs])
    return {(state.account, state.email): state for state in decode_rows(rows, _state, "people")}


async def list_people(
    connection: Connection, account: str, limit: int, cursor: str | None, hidden: Sequence[str] = ()
) -> Page[PersonState]:
    """List an account's people by e-mail, without removed ones and without ``hidden``."""
    place = read_cursor(cursor, 1)
    rows = await connection.fetch(_LIST, account, limit + 1, place[0] if place else "", list(hidden))
    return page(rows, limit, _state, lambda row: (row["email"],), "people")


def _state(row: Row) -> PersonState:
    return PersonState.model_validate_json(row["state"])
