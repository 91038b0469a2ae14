"""The issuer's newest assertion about vendor operators.

It overrides older tokens and sessions.
"""

from datetime import datetime

from shared.runtime.postgres.pool import Connection

_FIND = "SELECT vendor, said_at FROM issuer_words WHERE email = $1"
_UPSERT = """
INSERT INTO issuer_words AS w (email, vendor, said_at) VALUES ($1, true, $2)
ON CONFLICT (email) DO UPDATE SET vendor = true, said_at = excluded.said_at WHERE w.said_at < excluded.said_at
"""
_REVOKE = "UPDATE issuer_words SET vendor = false, said_at = $2 WHERE email = $1 AND said_at <= $2"


async def is_vendor(connection: Connection, email: str, said_at: datetime) -> bool:
    """Whether an operator is still one by the issuer's newest assertion.

    ``said_at``: when the issuer called the person an operator. Stores this assertion, if it is the newest.
    """
    row = await connection.fetchrow(_FIND, email)
    if row is not None and row["said_at"] >= said_at:
        return bool(row["vendor"])
    await connection.execute(_UPSERT, email, said_at)
    return True


async def record_revocation(connection: Connection, email: str, said_at: datetime) -> None:
    """Record that at ``said_at`` the issuer did not call the person an operator.

    Nothing is stored about people who never were operators.
    """
    await connection.execute(_REVOKE, email, said_at)
