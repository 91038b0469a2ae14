"""Roles of accounts, and default roles of products."""

from shared.events.ids import AccountId, PersonId, ProductId, RoleId
from shared.events.state import RoleState
from shared.runtime.postgres.pool import Connection, Row

_INSERT = """
INSERT INTO roles (account, id, product, name, is_default, customised, based_on, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING RETURNING id
"""
_LOCK = """
SELECT account, id, product, name, is_default, customised, based_on, version
FROM roles WHERE account = $1 AND id = $2 FOR NO KEY UPDATE
"""
_UPDATE = """
UPDATE roles SET name = $3, customised = $4, based_on = $5, version = $6 WHERE account = $1 AND id = $2
"""
_LOAD_MEMBERS = """
SELECT m.person
FROM role_members AS m
JOIN people AS p ON p.id = m.person
WHERE m.account = $1 AND m.role = $2 AND p.enabled AND p.removed_at IS NULL
ORDER BY m.person
"""
_INSERT_MEMBER = "INSERT INTO role_members (account, role, person) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_DELETE_MEMBER = "DELETE FROM role_members WHERE account = $1 AND role = $2 AND person = $3"
_COUNT_MEMBERS = "SELECT count(*) FROM role_members WHERE account = $1 AND role = $2"
_COUNT_ROLES = "SELECT count(*) FROM roles WHERE account = $1"
_FIND_HELD = "SELECT role FROM role_members WHERE person = $1 ORDER BY role"
_FIND_TEMPLATES_ELSEWHERE = "SELECT role, product FROM role_templates WHERE role = ANY($1::text[]) AND product <> $2"
_FIND_OWN = "SELECT DISTINCT id FROM roles WHERE id = ANY($1::text[]) AND NOT is_default"
_IS_TEMPLATE = "SELECT EXISTS (SELECT FROM role_templates WHERE role = $1)"
_USES = """
SELECT EXISTS (
    SELECT
    FROM subscriptions AS s
    JOIN allocations AS a ON a.subscription = s.id AND a.product = $2
    WHERE s.account = $1
)
"""
_FIND_MISSING = """
SELECT DISTINCT s.account, a.product
FROM allocations AS a
JOIN subscriptions AS s ON s.id = a.subscription
JOIN role_templates AS t ON t.product = a.product
WHERE
    a.ended_at IS NULL
    AND NOT EXISTS (SELECT FROM roles AS r WHERE r.account = s.account AND r.id = t.role)
ORDER BY s.account, a.product
LIMIT $1
"""
_FIND_USERS = """
SELECT DISTINCT s.account
FROM allocations AS a
JOIN subscriptions AS s ON s.id = a.subscription
WHERE a.product = $1 AND a.ended_at IS NULL
ORDER BY s.account
"""


async def insert_role(connection: Connection, role: RoleState) -> bool:
    """Insert a role without members; return false if the account uses the id already."""
    inserted = await connection.fetchval(
        _INSERT,
        role.account,
        role.role,
        role.product,
        role.name,
        role.is_default,
        None if role.customised is None else list(role.customised),
        role.based_on,
        role.version,
    )
    return inserted is not None


async def lock_role(connection: Connection, account: AccountId, role: RoleId) -> RoleState | None:
    """Lock a role for update, with its active members."""
    row = await connection.fetchrow(_LOCK, account, role)
    return _role(row, await connection.fetch(_LOAD_MEMBERS, account, role)) if row else None


async def update_role(connection: Connection, role: RoleState) -> None:
    """Update a role's columns that may change, not its members."""
    customised = None if role.customised is None else list(role.customised)
    await connection.execute(_UPDATE, role.account, role.role, role.name, customised, role.based_on, role.version)


async def set_member(connection: Connection, role: RoleState, person: PersonId, member: bool) -> None:
    """Add a person to a role that this transaction has locked, or remove them."""
    await connection.execute(_INSERT_MEMBER if member else _DELETE_MEMBER, role.account, role.role, person)


async def count_members(connection: Connection, role: RoleState) -> int:
    """Count the members of a role, active or not."""
    return int(await connection.fetchval(_COUNT_MEMBERS, role.account, role.role))


async def count_roles(connection: Connection, account: AccountId) -> int:
    """Count the roles of an account."""
    return int(await connection.fetchval(_COUNT_ROLES, account))


async def find_held(connection: Connection, person: PersonId) -> list[RoleId]:
    """Find a person's roles, effective or not, in the order in which roles are locked."""
    return [row["role"] for row in await connection.fetch(_FIND_HELD, person)]


async def find_templates_elsewhere(
    connection: Connection, roles: list[RoleId], product: ProductId
) -> dict[RoleId, ProductId]:
    """Find which of these ids are default roles of another product, and of which."""
    rows = await connection.fetch(_FIND_TEMPLATES_ELSEWHERE, roles, product)
    return {row["role"]: row["product"] for row in rows}


async def find_own(connection: Connection, roles: list[RoleId]) -> set[RoleId]:
    """Find which of these ids an account uses for a role of its own."""
    return {row["id"] for row in await connection.fetch(_FIND_OWN, roles)}


async def is_template(connection: Connection, role: RoleId) -> bool:
    """Whether a product has a default role of this id."""
    return bool(await connection.fetchval(_IS_TEMPLATE, role))


async def uses_product(connection: Connection, account: AccountId, product: ProductId) -> bool:
    """Whether any subscription of the account uses the product, or used it."""
    return bool(await connection.fetchval(_USES, account, product))


async def find_missing_roles(connection: Connection, limit: int) -> list[tuple[AccountId, ProductId]]:
    """Find accounts that use a product and lack some of its default roles."""
    return [(row["account"], row["product"]) for row in await connection.fetch(_FIND_MISSING, limit)]


async def find_users(connection: Connection, product: ProductId) -> list[AccountId]:
    """Find the accounts that use the product."""
    return [row["account"] for row in await connection.fetch(_FIND_USERS, product)]


def _role(row: Row, members: list[Row]) -> RoleState:
    return RoleState(
        account=row["account"],
        role=row["id"],
        product=row["product"],
        name=row["name"],
        is_default=row["is_default"],
        customised=None if row["customised"] is None else tuple(row["customised"]),
        based_on=row["based_on"],
        members=tuple(one["person"] for one in members),
        version=row["version"],
    )
