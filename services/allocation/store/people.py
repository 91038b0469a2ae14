"""The people of an account, and their grants on its subscriptions."""

from collections.abc import Sequence

from shared.events.ids import AccountId, SubscriptionId
from shared.events.state import Grant, Person, PersonState
from shared.runtime.postgres.pool import Connection, Row

_INSERT = """
INSERT INTO people (account, email, name, enabled, removed_at, version) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING RETURNING email
"""
_LOCK = """
SELECT account, email, name, enabled, removed_at, version FROM people WHERE account = $1 AND email = $2
FOR NO KEY UPDATE
"""
_SHARE_LOCK = """
SELECT account, email, name, enabled, removed_at, version FROM people WHERE account = $1 AND email = $2 FOR SHARE
"""
_UPDATE = "UPDATE people SET name = $3, enabled = $4, removed_at = $5, version = $6 WHERE account = $1 AND email = $2"
_LOAD_ROLES = """
SELECT 'primary' AS role FROM subscriptions WHERE account = $1 AND primary_email = $2
UNION
SELECT g.role
FROM grants AS g
JOIN subscriptions AS s ON s.id = g.subscription
JOIN people AS p ON p.account = s.account AND p.email = g.email
WHERE g.email = $2 AND s.account = $1 AND p.enabled AND p.removed_at IS NULL
"""
_FIND_BY_ROLE = """
SELECT id FROM subscriptions WHERE account = $1 AND primary_email = $2
UNION
SELECT g.subscription
FROM grants AS g
JOIN subscriptions AS s ON s.id = g.subscription
JOIN people AS p ON p.account = s.account AND p.email = g.email
WHERE g.email = $2 AND s.account = $1 AND g.role = ANY($3::text[]) AND p.enabled AND p.removed_at IS NULL
"""
_LOCK_SUBSCRIPTIONS = "SELECT id, primary_email FROM subscriptions WHERE account = $1 ORDER BY id FOR NO KEY UPDATE"
_FIND_LED = "SELECT id FROM subscriptions WHERE account = $1 AND primary_email = $2 ORDER BY id"
_FIND_GRANTING = """
SELECT DISTINCT g.subscription
FROM grants AS g
JOIN subscriptions AS s ON s.id = g.subscription
WHERE g.email = $2 AND s.account = $1
ORDER BY g.subscription
"""
_LOAD_GRANTS = "SELECT role FROM grants WHERE subscription = $1 AND email = $2 ORDER BY role"
_DELETE_GRANTS = "DELETE FROM grants WHERE subscription = $1 AND email = $2"
_INSERT_GRANTS = "INSERT INTO grants (subscription, email, role) SELECT $1, $2, unnest($3::text[])"
_SET_PRIMARY = "UPDATE subscriptions SET primary_email = $2, primary_name = $3 WHERE id = $1"
_FIND_UNPUBLISHED = """
SELECT account, email FROM people WHERE version = 0 ORDER BY account, email LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
"""
_SET_FIRST_VERSION = """
UPDATE people SET version = 1 WHERE account = $1 AND email = $2 AND version = 0
RETURNING account, email, name, enabled, removed_at, version
"""


async def insert_person(connection: Connection, person: PersonState) -> bool:
    """Insert a person; return false if the account has this address already."""
    inserted = await connection.fetchval(
        _INSERT, person.account, person.email, person.name, person.enabled, person.removed_at, person.version
    )
    return inserted is not None


async def lock_person(connection: Connection, account: AccountId, email: str) -> PersonState | None:
    """Lock a person for update."""
    return _person(await connection.fetchrow(_LOCK, account, email))


async def share_lock_person(connection: Connection, account: AccountId, email: str) -> PersonState | None:
    """Lock a person against changes by others, without changing them."""
    return _person(await connection.fetchrow(_SHARE_LOCK, account, email))


async def update_person(connection: Connection, person: PersonState) -> None:
    """Update a person's columns that may change."""
    await connection.execute(
        _UPDATE, person.account, person.email, person.name, person.enabled, person.removed_at, person.version
    )


async def load_account_roles(connection: Connection, account: AccountId, email: str) -> frozenset[str]:
    """Load a person's roles on any of the account's subscriptions.

    They are ``primary``, and the effective grants.
    """
    return frozenset(row["role"] for row in await connection.fetch(_LOAD_ROLES, account, email))


async def lock_subscriptions_of(connection: Connection, account: AccountId) -> None:
    """Lock all subscriptions of the account in the order of their ids.

    People are locked afterwards.
    """
    await connection.execute(_LOCK_SUBSCRIPTIONS, account)


async def find_led_by(connection: Connection, account: AccountId, email: str) -> list[SubscriptionId]:
    """Find the subscriptions whose primary contact the person is."""
    return [row["id"] for row in await connection.fetch(_FIND_LED, account, email)]


async def find_granting(connection: Connection, account: AccountId, email: str) -> list[SubscriptionId]:
    """Find the subscriptions on which the person has grants, effective or not."""
    return [row["subscription"] for row in await connection.fetch(_FIND_GRANTING, account, email)]


async def find_by_role(
    connection: Connection, account: AccountId, email: str, grants: Sequence[Grant]
) -> frozenset[SubscriptionId]:
    """Find the subscriptions on which the person has a role.

    The person is the primary contact, or one of these grants is effective.
    """
    rows = await connection.fetch(_FIND_BY_ROLE, account, email, list(grants))
    return frozenset(row["id"] for row in rows)


async def load_grants(connection: Connection, subscription: SubscriptionId, email: str) -> tuple[Grant, ...]:
    """Load a person's grants on a subscription, effective or not."""
    return tuple(row["role"] for row in await connection.fetch(_LOAD_GRANTS, subscription, email))


async def replace_grants(
    connection: Connection, subscription: SubscriptionId, email: str, grants: Sequence[Grant]
) -> None:
    """Replace a person's grants on a subscription that this transaction has locked."""
    await connection.execute(_DELETE_GRANTS, subscription, email)
    await connection.execute(_INSERT_GRANTS, subscription, email, list(grants))


async def set_primary_contact(connection: Connection, subscription: SubscriptionId, person: Person) -> None:
    """Update the primary contact of a subscription that this transaction has locked."""
    await connection.execute(_SET_PRIMARY, subscription, person.email, person.name)


async def version_people(connection: Connection, limit: int) -> list[PersonState]:
    """Set version 1 of people that a migration inserted, and return them.

    At most ``limit`` people. They have version 0 until they are published first, which the caller does.
    """
    versioned = []
    for row in await connection.fetch(_FIND_UNPUBLISHED, limit):
        person = _person(await connection.fetchrow(_SET_FIRST_VERSION, row["account"], row["email"]))
        versioned += [person] if person else []
    return versioned


def _person(row: Row | None) -> PersonState | None:
    if row is None:
        return None
    # A person of version 0 is not published yet; their first change publishes version 1.
    return PersonState.model_construct(**dict(row))
