"""The chains of the audit log, for verification.

They are read one after the other, and streamed.
"""

from collections.abc import AsyncIterator

from services.reporting.domain.audit_chain import Head, Link
from shared.runtime.postgres.pool import Connection

PREFETCH = 100
"""Records in memory at once; each is below 1 MB."""

# The log is searched too, so that a chain whose head was deleted is found.
_NEXT = """
SELECT least(
    (SELECT min(account) FROM audit_chains WHERE $1::text IS NULL OR account > $1),
    (SELECT min(account) FROM audit_log WHERE $1::text IS NULL OR account > $1)
)
"""
_HEAD = "SELECT records, hash FROM audit_chains WHERE account = $1"
_LINKS = """
SELECT
    chain_sequence, sequence, event_id, source, recorded, previous_hash, hash,
    at, account, subscription, actor, action, outcome, record
FROM audit_log WHERE account = $1 ORDER BY chain_sequence, sequence
"""


async def find_next_chain(connection: Connection, after: str | None) -> str | None:
    """Return the account whose chain follows that of ``after``.

    ``None``: there are no more.
    """
    account: str | None = await connection.fetchval(_NEXT, after)
    return account


async def find_head(connection: Connection, account: str) -> Head | None:
    """Find the head of an account's chain."""
    row = await connection.fetchrow(_HEAD, account)
    return Head(row["records"], row["hash"]) if row else None


async def stream_links(connection: Connection, account: str) -> AsyncIterator[Link]:
    """Stream an account's records in the order of its chain.

    Must run inside a transaction.
    """
    async for row in connection.cursor(_LINKS, account, prefetch=PREFETCH):
        yield Link(
            number=row["chain_sequence"],
            sequence=row["sequence"],
            event_id=row["event_id"],
            source=row["source"],
            recorded=row["recorded"],
            previous_hash=row["previous_hash"],
            hash=row["hash"],
            columns=dict(row),
        )
