"""Accounts."""

from shared.events.ids import AccountId
from shared.events.state import AccountState
from shared.runtime.postgres.pool import Connection, Row

_INSERT = """
INSERT INTO accounts (id, name, flex_enabled, version) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING id
"""
_FIND = "SELECT id, name, flex_enabled, version FROM accounts WHERE id = $1"
_LOCK = "SELECT id, name, flex_enabled, version FROM accounts WHERE id = $1 FOR NO KEY UPDATE"
_UPDATE = "UPDATE accounts SET flex_enabled = $2, version = $3 WHERE id = $1"


async def insert_account(connection: Connection, account: AccountState) -> bool:
    """Insert an account; return false if the id is used already."""
    inserted = await connection.fetchval(_INSERT, account.id, account.name, account.flex_enabled, account.version)
    return inserted is not None


async def find_account(connection: Connection, account: AccountId) -> AccountState | None:
    """Find an account."""
    return _account(await connection.fetchrow(_FIND, account))


async def lock_account(connection: Connection, account: AccountId) -> AccountState | None:
    """Lock an account for update, and load it."""
    return _account(await connection.fetchrow(_LOCK, account))


async def update_account(connection: Connection, account: AccountState) -> None:
    """Update an account's columns that may change."""
    await connection.execute(_UPDATE, account.id, account.flex_enabled, account.version)


def _account(row: Row | None) -> AccountState | None:
    return AccountState(**dict(row)) if row else None
