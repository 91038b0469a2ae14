"""Erasures of people, carried out or not."""

from collections.abc import Sequence
from datetime import datetime

from shared.events.erasure import ErasureState
from shared.events.ids import PersonId
from shared.runtime.postgres.pool import Connection

_INSERT = """
INSERT INTO erasures (person, account, requested_by, reason, requested_at, due_at, erased_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_FIND = """
SELECT person, account, requested_by, reason, requested_at, due_at, erased_at, version FROM erasures WHERE person = $1
"""
_LOCK_DUE = """
SELECT person, account, requested_by, reason, requested_at, due_at, erased_at, version FROM erasures
WHERE erased_at IS NULL AND due_at <= $1 AND person <> ALL($3::text[])
ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""
_UPDATE = "UPDATE erasures SET erased_at = $2, version = $3 WHERE person = $1"


async def insert_erasure(connection: Connection, erasure: ErasureState) -> None:
    """Insert the erasure of a person whom this transaction has locked."""
    await connection.execute(_INSERT, *dict(erasure).values())


async def find_erasure(connection: Connection, person: PersonId) -> ErasureState | None:
    """Find the erasure of a person."""
    row = await connection.fetchrow(_FIND, person)
    return None if row is None else ErasureState(**row)


async def lock_due_erasures(
    connection: Connection, now: datetime, limit: int, without: Sequence[str]
) -> list[ErasureState]:
    """Lock erasures that are due, the longest due first.

    Those of ``without`` and those locked by others are left out.
    """
    return [ErasureState(**row) for row in await connection.fetch(_LOCK_DUE, now, limit, without)]


async def update_erasure(connection: Connection, erasure: ErasureState) -> None:
    """Update what changes of an erasure when it is carried out."""
    await connection.execute(_UPDATE, erasure.person, erasure.erased_at, erasure.version)
