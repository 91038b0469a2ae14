"""Accounts."""

from services.reporting.store.paging import Page, page, read_cursor
from shared.events.state import AccountState
from shared.runtime.postgres.pool import Connection, Row

_UPSERT = """
INSERT INTO accounts (id, version, state) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, state = excluded.state
WHERE accounts.version < excluded.version
"""
_FIND = "SELECT state FROM accounts WHERE id = $1"
_LIST = "SELECT id, state FROM accounts WHERE id > $1 ORDER BY id LIMIT $2"
_LIST_OF_PERSON = """
SELECT id, state FROM accounts
WHERE id > $1 AND id IN (
    SELECT p.account FROM people AS p JOIN subscription_people AS h ON h.person = p.id WHERE p.email = $3
)
ORDER BY id LIMIT $2
"""


async def upsert_account(connection: Connection, state: AccountState) -> None:
    """Upsert the state unless the stored one is as new or newer."""
    await connection.execute(_UPSERT, state.id, state.version, state.model_dump_json())


async def find_account(connection: Connection, account: str) -> AccountState | None:
    """Find an account."""
    state = await connection.fetchval(_FIND, account)
    return None if state is None else AccountState.model_validate_json(state)


async def list_accounts(
    connection: Connection, limit: int, cursor: str | None, person: str | None = None
) -> Page[AccountState]:
    """List accounts by id.

    ``person``: only those with a subscription in which they have a role.
    """
    place = read_cursor(cursor, 1)
    after = place[0] if place else ""
    if person is None:
        rows = await connection.fetch(_LIST, after, limit + 1)
    else:
        rows = await connection.fetch(_LIST_OF_PERSON, after, limit + 1, person)
    return page(rows, limit, _state, lambda row: (row["id"],), "accounts")


def _state(row: Row) -> AccountState:
    return AccountState.model_validate_json(row["state"])
