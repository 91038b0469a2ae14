"""Accounts."""

from shared.events.ids import AccountId
from shared.events.state import AccountState
from shared.runtime.postgres import Connection, Row

_INSERT = """
INSERT INTO accounts (id, name, flex_enabled, version) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING id
"""
_FIND = "SELECT id, name, flex_enabled, version FROM accounts WHERE id = $1"
_LOCK = "SELECT id, name, flex_enabled, version FROM accounts WHERE id = $1 FOR NO KEY UPDATE"
_UPDATE = "UPDATE accounts SET flex_enabled = $2, version = $3 WHERE id = $1"
_IS_KNOWN_TO = """
SELECT EXISTS (
    SELECT FROM subscriptions
    WHERE account = $1
        AND (
            primary_email = $2
            OR EXISTS (SELECT FROM grants WHERE grants.subscription = subscriptions.id AND grants.email = $2)
        )
)
"""


async def insert_account(connection: Connection, account: AccountState) -> bool:
    """Keep a new account; false where there is one with this id."""
    inserted = await connection.fetchval(_INSERT, account.id, account.name, account.flex_enabled, account.version)
    return inserted is not None


async def find_account(connection: Connection, account: AccountId) -> AccountState | None:
    """The account."""
    return _account(await connection.fetchrow(_FIND, account))


async def lock_account(connection: Connection, account: AccountId) -> AccountState | None:
    """The account, for this transaction alone to change."""
    return _account(await connection.fetchrow(_LOCK, account))


async def update_account(connection: Connection, account: AccountState) -> None:
    """Write what may change of an account."""
    await connection.execute(_UPDATE, account.id, account.flex_enabled, account.version)


async def is_account_known_to(connection: Connection, account: AccountId, email: str) -> bool:
    """Whether this person has a role on any subscription of the account."""
    return bool(await connection.fetchval(_IS_KNOWN_TO, account, email))


def _account(row: Row | None) -> AccountState | None:
    return AccountState(**dict(row)) if row else None
