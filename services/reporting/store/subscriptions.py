"""Subscriptions, and the people with a role in each."""

from collections.abc import Collection, Iterable

from services.reporting.store.notifications import notify_subscription
from services.reporting.store.paging import Page, page, read_cursor
from services.reporting.store.products import decode_products
from shared.events.state import ProductState, SubscriptionState
from shared.runtime.postgres.pool import Connection, Row

PRIMARY = "primary"

_UPSERT = """
INSERT INTO subscriptions (id, account, version, state) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET account = excluded.account, version = excluded.version, state = excluded.state
WHERE subscriptions.version < excluded.version
RETURNING true
"""
_DELETE_PEOPLE = "DELETE FROM subscription_people WHERE subscription = $1"
_INSERT_PEOPLE = """
INSERT INTO subscription_people (person, subscription, role)
SELECT person, $1, role FROM unnest($2::text[], $3::text[]) AS new (person, role) ORDER BY person, role
ON CONFLICT DO NOTHING
"""
_FIND = "SELECT state FROM subscriptions WHERE id = $1"
_FIND_WITH_ROLES = """
SELECT s.state, ARRAY(
    SELECT h.role FROM subscription_people AS h JOIN people AS p ON p.id = h.person
    WHERE h.subscription = s.id AND p.email = $2
) AS roles
FROM subscriptions AS s WHERE s.id = $1
"""
# In one statement, since nothing is read more often than the overview.
_FIND_WITH_CATALOGUE = """
SELECT s.state, ARRAY(
    SELECT h.role FROM subscription_people AS h JOIN people AS p ON p.id = h.person
    WHERE h.subscription = s.id AND p.email = $2
) AS roles, ARRAY(
    SELECT (p.id, p.state) FROM products AS p
    WHERE p.id IN (SELECT one ->> 'product' FROM jsonb_array_elements(s.state -> 'products') AS one)
) AS products
FROM subscriptions AS s WHERE s.id = $1
"""
_LOAD_ROLES = """
SELECT h.subscription, h.role
FROM people AS p JOIN subscription_people AS h ON h.person = p.id
WHERE p.email = $1 AND h.subscription = ANY($2::text[])
"""
_LIST = """
SELECT id, state FROM subscriptions WHERE id > $1 AND ($3::text IS NULL OR account = $3) ORDER BY id LIMIT $2
"""
_LIST_OF_PERSON = """
SELECT id, state FROM subscriptions
WHERE id > $1 AND ($3::text IS NULL OR account = $3)
    AND id IN (
        SELECT h.subscription FROM people AS p JOIN subscription_people AS h ON h.person = p.id WHERE p.email = $4
    )
ORDER BY id LIMIT $2
"""
_IDS_BY_ROLE = """
SELECT h.subscription
FROM people AS p JOIN subscription_people AS h ON h.person = p.id
WHERE p.email = $1 AND h.role = ANY($2::text[])
"""
_ROLES_IN_ACCOUNT = """
SELECT DISTINCT h.role
FROM people AS p JOIN subscription_people AS h ON h.person = p.id
WHERE p.email = $1 AND p.account = $2
"""
_ACCOUNTS_BY_ROLE = """
SELECT DISTINCT p.account
FROM people AS p JOIN subscription_people AS h ON h.person = p.id
WHERE p.email = $1 AND h.role = ANY($2::text[])
"""
_PEOPLE_OUTSIDE = """
SELECT s.account, h.person
FROM subscriptions AS s JOIN subscription_people AS h ON h.subscription = s.id
WHERE s.account = ANY($1::text[])
GROUP BY s.account, h.person
HAVING bool_and(h.subscription <> ALL($2::text[]))
"""
_ROLES_OF_PEOPLE = """
SELECT person, subscription, role FROM subscription_people
WHERE person = ANY($1::text[])
ORDER BY person, subscription, role
"""


async def upsert_subscription(connection: Connection, state: SubscriptionState) -> None:
    """Upsert the state unless the stored one is as new or newer, and notify watchers."""
    if not await connection.fetchval(_UPSERT, state.id, state.account, state.version, state.model_dump_json()):
        return
    people = {(state.primary_contact, PRIMARY), *((one.person, one.grant) for one in state.grants)}
    await connection.execute(_DELETE_PEOPLE, state.id)
    await connection.execute(_INSERT_PEOPLE, state.id, [one[0] for one in people], [one[1] for one in people])
    await notify_subscription(connection, state.id, "subscription")


async def find_subscription(connection: Connection, subscription: str) -> SubscriptionState | None:
    """Find a subscription."""
    state = await connection.fetchval(_FIND, subscription)
    return None if state is None else SubscriptionState.model_validate_json(state)


async def find_with_roles(
    connection: Connection, subscription: str, email: str
) -> tuple[SubscriptionState, frozenset[str]] | None:
    """Find a subscription, and the roles in it of whoever has this address."""
    row = await connection.fetchrow(_FIND_WITH_ROLES, subscription, email)
    return None if row is None else (_state(row), frozenset(row["roles"]))


async def find_with_catalogue(
    connection: Connection, subscription: str, email: str
) -> tuple[SubscriptionState, frozenset[str], dict[str, ProductState]] | None:
    """Find what ``find_with_roles`` does, and the subscription's products by id."""
    row = await connection.fetchrow(_FIND_WITH_CATALOGUE, subscription, email)
    return None if row is None else (_state(row), frozenset(row["roles"]), decode_products(row["products"]))


async def load_roles(connection: Connection, email: str, subscriptions: Iterable[str]) -> dict[str, set[str]]:
    """Load, by subscription, the roles of whoever has this address."""
    found: dict[str, set[str]] = {}
    for row in await connection.fetch(_LOAD_ROLES, email, list(subscriptions)):
        found.setdefault(row["subscription"], set()).add(row["role"])
    return found


async def list_subscriptions(
    connection: Connection,
    limit: int,
    cursor: str | None,
    *,
    person: str | None = None,
    account: str | None = None,
) -> Page[SubscriptionState]:
    """List subscriptions by id.

    ``person``: those in which they have a role; ``account``: those of one account.
    """
    place = read_cursor(cursor, 1)
    after = place[0] if place else ""
    if person is None:
        rows = await connection.fetch(_LIST, after, limit + 1, account)
    else:
        rows = await connection.fetch(_LIST_OF_PERSON, after, limit + 1, account, person)
    return page(rows, limit, _state, lambda row: (row["id"],), "subscriptions")


def _state(row: Row) -> SubscriptionState:
    return SubscriptionState.model_validate_json(row["state"])


async def find_ids_by_role(connection: Connection, email: str, roles: Iterable[str]) -> list[str]:
    """List the subscriptions in which a person has one of the roles."""
    return [row["subscription"] for row in await connection.fetch(_IDS_BY_ROLE, email, list(roles))]


async def find_roles_in_account(connection: Connection, email: str, account: str) -> set[str]:
    """Return the roles that a person has in any subscription of an account."""
    return {row["role"] for row in await connection.fetch(_ROLES_IN_ACCOUNT, email, account)}


async def find_accounts_by_role(connection: Connection, email: str, roles: Iterable[str]) -> list[str]:
    """List the accounts with a subscription in which a person has one of the roles."""
    return sorted(row["account"] for row in await connection.fetch(_ACCOUNTS_BY_ROLE, email, list(roles)))


async def load_grants(connection: Connection, people: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Load, by person, pairs of subscription and role."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in await connection.fetch(_ROLES_OF_PEOPLE, list(people)):
        found.setdefault(row["person"], []).append((row["subscription"], row["role"]))
    return found


async def find_people_outside(
    connection: Connection, accounts: Collection[str], subscriptions: Collection[str]
) -> dict[str, str]:
    """Find people of these accounts whose roles are all in other subscriptions.

    Return their account by their id.
    """
    rows = await connection.fetch(_PEOPLE_OUTSIDE, list(accounts), list(subscriptions))
    return {row["person"]: row["account"] for row in rows}
