"""Reads of raw usage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from asyncpg.pgproto import pgproto

from shared.runtime.postgres.pool import Connection

_identity: Callable[[bytes], UUID] = pgproto.UUID
"""The UUID type of the database driver.

It takes half as long to make as Python's, and far less to send.
"""

_FIND_STORED = """
SELECT u.digest, u.at, u.subscription, u.meter, u.quantity, u.resource, u.extra
FROM unnest($1::uuid[], $2::timestamptz[]) AS wanted (digest, day)
JOIN usage u ON u.digest = wanted.digest AND u.at >= wanted.day AND u.at < wanted.day + interval '24 hours'
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """The content of an applied event."""

    at: datetime
    subscription: int
    meter: int
    quantity: Decimal
    resource: str | None
    extra: str | None


async def find_stored(connection: Connection, wanted: Sequence[tuple[bytes, datetime]]) -> dict[bytes, list[Stored]]:
    """Find stored events by (digest, start of the UTC day). Return them by digest."""
    digests = [_identity(digest) for digest, _ in wanted]
    found: dict[bytes, list[Stored]] = {}
    for row in await connection.fetch(_FIND_STORED, digests, [day for _, day in wanted]):
        stored = Stored(row["at"], row["subscription"], row["meter"], row["quantity"], row["resource"], row["extra"])
        found.setdefault(row["digest"].bytes, []).append(stored)
    return found
