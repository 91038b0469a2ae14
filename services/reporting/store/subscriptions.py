"""Subscriptions, and the people with a role in each."""

from collections.abc import Collection, Iterable

from services.reporting.store.notifications import notify_subscription
from services.reporting.store.paging import Page, page, read_cursor
from shared.events.state import SubscriptionState
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
INSERT INTO subscription_people (email, subscription, role)
SELECT email, $1, role FROM unnest($2::text[], $3::text[]) AS new (email, role) ORDER BY email, role
ON CONFLICT DO NOTHING
"""
_FIND = "SELECT state FROM subscriptions WHERE id = $1"
_LIST = """
SELECT id, state FROM subscriptions WHERE id > $1 AND ($3::text IS NULL OR account = $3) ORDER BY id LIMIT $2
"""
_LIST_OF_PERSON = """
SELECT id, state FROM subscriptions
WHERE id > $1 AND ($3::text IS NULL OR account = $3)
    AND id IN (SELECT subscription FROM subscription_people WHERE email = $4)
ORDER BY id LIMIT $2
"""
_IDS_BY_ROLE = """
SELECT subscription FROM subscription_people WHERE email = $1 AND role = ANY($2::text[])
"""
_ROLES_IN_ACCOUNT = """
SELECT DISTINCT p.role
FROM subscription_people AS p JOIN subscriptions AS s ON s.id = p.subscription
WHERE p.email = $1 AND s.account = $2
"""
_ACCOUNTS_BY_ROLE = """
SELECT DISTINCT s.account
FROM subscription_people AS p JOIN subscriptions AS s ON s.id = p.subscription
WHERE p.email = $1 AND p.role = ANY($2::text[])
"""
_PEOPLE_OUTSIDE = """
SELECT s.account, p.email
FROM subscriptions AS s JOIN subscription_people AS p ON p.subscription = s.id
WHERE s.account = ANY($1::text[])
GROUP BY s.account, p.email
HAVING bool_and(p.subscription <> ALL($2::text[]))
"""
_PEOPLE_OF_ACCOUNT = """
SELECT p.email, p.subscription, p.role
FROM subscriptions AS s JOIN subscription_people AS p ON p.subscription = s.id
WHERE s.account = $1 AND p.email = ANY($2::text[])
ORDER BY p.email, p.subscription, p.role
"""


async def upsert_subscription(connection: Connection, state: SubscriptionState) -> None:
    """Upsert the state unless the stored one is as new or newer, and notify watchers."""
    if not await connection.fetchval(_UPSERT, state.id, state.account, state.version, state.model_dump_json()):
        return
    people = {(state.primary_contact.email, PRIMARY), *((one.email, one.grant) for one in state.grants)}
    await connection.execute(_DELETE_PEOPLE, state.id)
    await connection.execute(_INSERT_PEOPLE, state.id, [one[0] for one in people], [one[1] for one in people])
    await notify_subscription(connection, state.id, "subscription")


async def find_subscription(connection: Connection, subscription: str) -> SubscriptionState | None:
    """Find a subscription."""
    state = await connection.fetchval(_FIND, subscription)
    return None if state is None else SubscriptionState.model_validate_json(state)


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


async def load_grants(connection: Connection, account: str, emails: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Load, by e-mail, pairs of subscription and role in the account's subscriptions."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in await connection.fetch(_PEOPLE_OF_ACCOUNT, account, list(emails)):
        found.setdefault(row["email"], []).append((row["subscription"], row["role"]))
    return found


async def find_people_outside(
    connection: Connection, accounts: Collection[str], subscriptions: Collection[str]
) -> list[tuple[str, str]]:
    """List account and e-mail of people whose roles are all in other subscriptions."""
    rows = await connection.fetch(_PEOPLE_OUTSIDE, list(accounts), list(subscriptions))
    return [(row["account"], row["email"]) for row in rows]
