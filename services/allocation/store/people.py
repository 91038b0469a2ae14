"""The people of an account, and their grants on its subscriptions."""

from collections.abc import Sequence

from shared.events.ids import AccountId, PersonId, SubscriptionId
from shared.events.state import Grant, PersonState
from shared.runtime.postgres.pool import Connection, Row

_INSERT = """
INSERT INTO people (id, account, email, name, text_key, enabled, removed_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING RETURNING email
"""
_LOCK = """
SELECT id, account, email, name, text_key, enabled, removed_at, erase_at, version FROM people
WHERE account = $1 AND id = $2 FOR NO KEY UPDATE
"""
_LOCK_OF = """
SELECT id, account, email, name, text_key, enabled, removed_at, erase_at, version FROM people
WHERE account = $1 AND email = $2 FOR NO KEY UPDATE
"""
_LOCK_ANY = """
SELECT id, account, email, name, text_key, enabled, removed_at, erase_at, version FROM people
WHERE id = $1 AND account IS NOT DISTINCT FROM $2 FOR UPDATE
"""
_DELETE = "DELETE FROM people WHERE id = $1"
_ONLY_USERADMIN = """
SELECT g.subscription FROM grants AS g
WHERE g.person = $1 AND g.role = 'useradmin' AND NOT EXISTS (
    SELECT FROM grants AS other JOIN people AS p ON p.id = other.person
    WHERE other.subscription = g.subscription AND other.role = 'useradmin' AND other.person <> $1
        AND p.enabled AND p.removed_at IS NULL AND p.erase_at IS NULL
)
ORDER BY g.subscription
"""
_FIND_WITHOUT_ACCOUNT = """
SELECT id, account, email, name, text_key, enabled, removed_at, erase_at, version FROM people
WHERE account IS NULL AND email = $1
"""
_SHARE_LOCK = """
SELECT id, account, email, name, text_key, enabled, removed_at, erase_at, version FROM people
WHERE account = $1 AND id = $2 FOR SHARE
"""
_UPDATE = """
UPDATE people SET email = $2, name = $3, enabled = $4, removed_at = $5, erase_at = $6, version = $7
WHERE id = $1 AND NOT EXISTS (
    SELECT FROM people AS other WHERE other.account = people.account AND other.email = $2 AND other.id <> $1
)
RETURNING id
"""
_LOAD_ROLES = """
SELECT 'primary' AS role FROM subscriptions WHERE account = $1 AND primary_contact = $2
UNION
SELECT g.role
FROM grants AS g
JOIN subscriptions AS s ON s.id = g.subscription
JOIN people AS p ON p.id = g.person
WHERE g.person = $2 AND s.account = $1 AND p.enabled AND p.removed_at IS NULL
"""
_FIND_BY_ROLE = """
SELECT id FROM subscriptions WHERE primary_contact = $1
UNION
SELECT g.subscription
FROM grants AS g
JOIN people AS p ON p.id = g.person
WHERE g.person = $1 AND g.role = ANY($2::text[]) AND p.enabled AND p.removed_at IS NULL
"""
_LOCK_SUBSCRIPTIONS = "SELECT id FROM subscriptions WHERE account = $1 ORDER BY id FOR NO KEY UPDATE"
_FIND_LED = "SELECT id FROM subscriptions WHERE primary_contact = $1 ORDER BY id"
_FIND_GRANTING = "SELECT DISTINCT subscription FROM grants WHERE person = $1 ORDER BY subscription"
_LOAD_GRANTS = "SELECT role FROM grants WHERE subscription = $1 AND person = $2 ORDER BY role"
_DELETE_GRANTS = "DELETE FROM grants WHERE subscription = $1 AND person = $2"
_INSERT_GRANTS = "INSERT INTO grants (subscription, person, role) SELECT $1, $2, unnest($3::text[])"
_SET_PRIMARY = "UPDATE subscriptions SET primary_contact = $2 WHERE id = $1"
_FIND_UNPUBLISHED = """
SELECT id FROM people WHERE version = 0 ORDER BY account, email LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
"""
_SET_FIRST_VERSION = """
UPDATE people SET version = 1 WHERE id = $1 AND version = 0
RETURNING id, account, email, name, text_key, enabled, removed_at, erase_at, version
"""


async def insert_person(connection: Connection, person: PersonState) -> bool:
    """Insert a person; return false if the account has this address already."""
    inserted = await connection.fetchval(
        _INSERT,
        person.id,
        person.account,
        person.email,
        person.name,
        person.text_key,
        person.enabled,
        person.removed_at,
        person.version,
    )
    return inserted is not None


async def lock_person(connection: Connection, account: AccountId, person: PersonId | None) -> PersonState | None:
    """Lock a person of an account for update."""
    return _person(await connection.fetchrow(_LOCK, account, person))


async def lock_person_of(connection: Connection, account: AccountId, email: str) -> PersonState | None:
    """Lock the person of an account who has this address for update."""
    return _person(await connection.fetchrow(_LOCK_OF, account, email))


async def find_without_account(connection: Connection, email: str) -> PersonState | None:
    """Find the person without an account who has this address."""
    return _person(await connection.fetchrow(_FIND_WITHOUT_ACCOUNT, email))


async def share_lock_person(connection: Connection, account: AccountId, person: PersonId | None) -> PersonState | None:
    """Lock a person of an account against changes by others, without changing them."""
    return _person(await connection.fetchrow(_SHARE_LOCK, account, person))


async def update_person(connection: Connection, person: PersonState) -> bool:
    """Update a person; return false if another person has the address."""
    row = (person.id, person.email, person.name, person.enabled, person.removed_at, person.erase_at, person.version)
    return await connection.fetchval(_UPDATE, *row) is not None


async def lock_person_to_erase(
    connection: Connection, account: AccountId | None, person: PersonId
) -> PersonState | None:
    """Lock a person, of an account or without one, for deletion."""
    return _person(await connection.fetchrow(_LOCK_ANY, person, account))


async def delete_person(connection: Connection, person: PersonId) -> None:
    """Delete a person who has no grants, roles or subscriptions."""
    await connection.execute(_DELETE, person)


async def find_only_useradmin_of(connection: Connection, person: PersonId) -> list[SubscriptionId]:
    """Find the subscriptions that have no other user administrator."""
    return [row["subscription"] for row in await connection.fetch(_ONLY_USERADMIN, person)]


async def load_account_roles(connection: Connection, account: AccountId, person: PersonId | None) -> frozenset[str]:
    """Load a person's roles on any of the account's subscriptions.

    They are ``primary``, and the effective grants.
    """
    return frozenset(row["role"] for row in await connection.fetch(_LOAD_ROLES, account, person))


async def lock_subscriptions_of(connection: Connection, account: AccountId) -> None:
    """Lock all subscriptions of the account in the order of their ids.

    People are locked afterwards.
    """
    await connection.execute(_LOCK_SUBSCRIPTIONS, account)


async def find_led_by(connection: Connection, person: PersonId) -> list[SubscriptionId]:
    """Find the subscriptions whose primary contact the person is."""
    return [row["id"] for row in await connection.fetch(_FIND_LED, person)]


async def find_granting(connection: Connection, person: PersonId) -> list[SubscriptionId]:
    """Find the subscriptions on which the person has grants, effective or not."""
    return [row["subscription"] for row in await connection.fetch(_FIND_GRANTING, person)]


async def find_by_role(
    connection: Connection, person: PersonId | None, grants: Sequence[Grant]
) -> frozenset[SubscriptionId]:
    """Find the subscriptions on which the person has a role.

    The person is the primary contact, or one of these grants is effective.
    """
    return frozenset(row["id"] for row in await connection.fetch(_FIND_BY_ROLE, person, list(grants)))


async def load_grants(connection: Connection, subscription: SubscriptionId, person: PersonId) -> tuple[Grant, ...]:
    """Load a person's grants on a subscription, effective or not."""
    return tuple(row["role"] for row in await connection.fetch(_LOAD_GRANTS, subscription, person))


async def replace_grants(
    connection: Connection, subscription: SubscriptionId, person: PersonId, grants: Sequence[Grant]
) -> None:
    """Replace a person's grants on a subscription that this transaction has locked."""
    await connection.execute(_DELETE_GRANTS, subscription, person)
    await connection.execute(_INSERT_GRANTS, subscription, person, list(grants))


async def set_primary_contact(connection: Connection, subscription: SubscriptionId, person: PersonId) -> None:
    """Update the primary contact of a subscription that this transaction has locked."""
    await connection.execute(_SET_PRIMARY, subscription, person)


async def version_people(connection: Connection, limit: int) -> list[PersonState]:
    """Set version 1 of people that a migration inserted, and return them.

    At most ``limit`` people. They have version 0 until they are published first, which the caller does.
    """
    versioned = []
    for row in await connection.fetch(_FIND_UNPUBLISHED, limit):
        person = _person(await connection.fetchrow(_SET_FIRST_VERSION, row["id"]))
        versioned += [person] if person else []
    return versioned


def _person(row: Row | None) -> PersonState | None:
    if row is None:
        return None
    # A person of version 0 is not published yet; their first change publishes version 1.
    return PersonState.model_construct(**dict(row))
