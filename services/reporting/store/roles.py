"""Roles of accounts in products' applications."""

from collections.abc import Sequence

from services.reporting.store.paging import Page, page, read_cursor
from shared.events.state import RoleState
from shared.runtime.postgres.pool import Connection, Row
from shared.runtime.postgres.row_decoding import decode_rows

_UPSERT = """
INSERT INTO roles (account, role, product, version, state) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (account, role) DO UPDATE SET
    product = excluded.product, version = excluded.version, state = excluded.state
WHERE roles.version < excluded.version
"""
_FIND = "SELECT state FROM roles WHERE account = $1 AND role = $2"
_LIST = """
SELECT role, state FROM roles
WHERE account = $1 AND role > $3 AND ($4::text IS NULL OR product = $4)
ORDER BY role LIMIT $2
"""
_LIST_OF_PRODUCT = """
SELECT role, state FROM roles
WHERE product = $1 AND ($2::text[] IS NULL OR account = ANY($2)) AND state -> 'members' <> '[]'
ORDER BY account, role LIMIT $3
"""


async def upsert_role(connection: Connection, state: RoleState) -> None:
    """Upsert the state unless the stored one is as new or newer."""
    row = (state.account, state.role, state.product, state.version, state.model_dump_json())
    await connection.execute(_UPSERT, *row)


async def find_role(connection: Connection, account: str, role: str) -> RoleState | None:
    """Find a role of an account."""
    state = await connection.fetchval(_FIND, account, role)
    return None if state is None else RoleState.model_validate_json(state)


async def list_roles(
    connection: Connection, account: str, limit: int, cursor: str | None, product: str | None = None
) -> Page[RoleState]:
    """List an account's roles by id."""
    place = read_cursor(cursor, 1)
    rows = await connection.fetch(_LIST, account, limit + 1, place[0] if place else "", product)
    return page(rows, limit, _state, lambda row: (row["role"],), "roles")


async def list_held_roles(
    connection: Connection, product: str, accounts: Sequence[str] | None, limit: int
) -> list[RoleState]:
    """List roles of a product that have members.

    ``accounts`` limits them to some accounts; ``None`` means all.
    """
    rows = await connection.fetch(_LIST_OF_PRODUCT, product, accounts, limit)
    return decode_rows(rows, _state, "roles")


def _state(row: Row) -> RoleState:
    return RoleState.model_validate_json(row["state"])
