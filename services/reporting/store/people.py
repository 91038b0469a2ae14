"""People of accounts."""

from collections.abc import Iterable, Sequence

from services.reporting.store.paging import Page, page, read_cursor
from shared.events.ids import PersonId
from shared.events.state import PersonState
from shared.runtime.postgres.pool import Connection, Row
from shared.runtime.postgres.row_decoding import decode_rows

_UPSERT = """
INSERT INTO people (id, account, email, version, removed_at, state) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET
    email = excluded.email, version = excluded.version, removed_at = excluded.removed_at, state = excluded.state
WHERE people.version < excluded.version
"""
_DELETE = "DELETE FROM people WHERE id = $1"
_FIND = "SELECT state FROM people WHERE account = $1 AND email = $2 ORDER BY removed_at DESC NULLS FIRST, id LIMIT 1"
_FIND_ID = """
SELECT id FROM people
WHERE email = $1 AND account = coalesce($2, (SELECT account FROM subscriptions WHERE id = $3))
ORDER BY removed_at DESC NULLS FIRST, id LIMIT 1
"""
_FIND_ACTOR = """
SELECT state FROM people, (SELECT coalesce($2, (SELECT account FROM subscriptions WHERE id = $3))) AS its (account)
WHERE email = $1 AND (people.account IS NULL OR people.account = its.account OR NOT $4)
ORDER BY people.account = its.account DESC NULLS LAST, people.account NULLS FIRST, removed_at DESC NULLS FIRST, id
LIMIT 1
"""
_FIND_SEVERAL = "SELECT id, state FROM people WHERE id = ANY($1::text[])"
_LIST = """
SELECT email, state FROM people
WHERE account = $1 AND email > $3 AND removed_at IS NULL AND id <> ALL($4::text[])
ORDER BY email LIMIT $2
"""


async def upsert_person(connection: Connection, state: PersonState) -> None:
    """Upsert the state unless the stored one is as new or newer."""
    row = (state.id, state.account, state.email, state.version, state.removed_at, state.model_dump_json())
    await connection.execute(_UPSERT, *row)


async def delete_person(connection: Connection, person: str) -> None:
    """Delete a person who was erased; nothing happens where there is none."""
    await connection.execute(_DELETE, person)


async def find_person(connection: Connection, account: str, email: str) -> PersonState | None:
    """Find a person of an account, removed or not.

    A present one goes before one who was removed.
    """
    state = await connection.fetchval(_FIND, account, email)
    return None if state is None else PersonState.model_validate_json(state)


async def find_people(connection: Connection, wanted: Iterable[str]) -> dict[str, PersonState]:
    """Find people by id; unknown ones are left out."""
    ids = sorted(set(wanted))
    rows = await connection.fetch(_FIND_SEVERAL, ids) if ids else []
    return {state.id: state for state in decode_rows(rows, _state, "people")}


async def find_actor(
    connection: Connection, email: str, account: str | None, subscription: str | None, *, vendor: bool
) -> PersonState | None:
    """Find as whom somebody acts in an account, or in that of a subscription.

    Who is nobody there acts as a person without an account, or else, unless they are an operator of the vendor, as a
    person of another account. ``None``: they are not known.
    """
    state = await connection.fetchval(_FIND_ACTOR, email, account, subscription, vendor)
    return None if state is None else PersonState.model_validate_json(state)


async def find_person_id(
    connection: Connection, email: str, account: str | None, subscription: str | None
) -> PersonId | None:
    """Find the id of who has this address in an account, or in that of a subscription.

    ``None``: nobody.
    """
    person: PersonId | None = await connection.fetchval(_FIND_ID, email, account, subscription)
    return person


async def list_people(
    connection: Connection, account: str, limit: int, cursor: str | None, hidden: Sequence[str] = ()
) -> Page[PersonState]:
    """List an account's people by e-mail, without removed ones and without ``hidden``."""
    place = read_cursor(cursor, 1)
    rows = await connection.fetch(_LIST, account, limit + 1, place[0] if place else "", list(hidden))
    return page(rows, limit, _state, lambda row: (row["email"],), "people")


def _state(row: Row) -> PersonState:
    return PersonState.model_validate_json(row["state"])
