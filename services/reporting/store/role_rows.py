"""Roles in the order of account and role, for reports."""

from collections.abc import Sequence

from shared.runtime.postgres.pool import Connection, Row

_ALL = """
SELECT role, account, state FROM roles
WHERE (account, role) > ($1, $2) AND ($4::text IS NULL OR product = $4)
ORDER BY account, role LIMIT $3
"""
_SOME = """
SELECT role, account, state FROM roles
WHERE account = ANY($5::text[]) AND (account, role) > ($1, $2) AND ($4::text IS NULL OR product = $4)
ORDER BY account, role LIMIT $3
"""
_COUNT = """
SELECT count(*) FROM roles
WHERE ($1::text[] IS NULL OR account = ANY($1)) AND ($2::text IS NULL OR product = $2)
"""
_HELD = """
SELECT DISTINCT h.role FROM people AS p JOIN subscription_people AS h ON h.person = p.id WHERE p.email = $1
"""


async def load_roles(
    connection: Connection, after: tuple[str, str], limit: int, accounts: Sequence[str] | None, product: str | None
) -> list[Row]:
    """Load the rows (role, account, state) that follow ``after``: account and role.

    ``accounts`` ``None``: of all.
    """
    if accounts is None:
        return await connection.fetch(_ALL, *after, limit, product)
    return await connection.fetch(_SOME, *after, limit, product, list(accounts))


async def count_roles(connection: Connection, accounts: Sequence[str] | None, product: str | None) -> int:
    """Count the roles of these accounts; ``None``: of all."""
    return int(await connection.fetchval(_COUNT, accounts, product))


async def find_held(connection: Connection, email: str) -> set[str]:
    """Return the roles that whoever has this address has in any subscription."""
    return {row["role"] for row in await connection.fetch(_HELD, email)}
