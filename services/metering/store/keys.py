"""Ingest keys, stored as their SHA-256."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.events.metering import IngestKeyState
from shared.runtime.postgres.pool import Connection, Row

_INSERT = """
INSERT INTO ingest_key (id, product, secret_sha256, created_at, created_by, expires_at, events_per_second,
    max_body_bytes, replaces, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING id
"""
_LOCK = """
SELECT id, product, created_at, created_by, expires_at, revoked_at, events_per_second, max_body_bytes, replaces,
    replaced_by, version
FROM ingest_key WHERE id = $1 FOR UPDATE
"""
_REPLACE = """
UPDATE ingest_key SET expires_at = $3, replaced_by = $2, version = version + 1
WHERE id = $1
RETURNING id, product, created_at, created_by, expires_at, revoked_at, events_per_second, max_body_bytes, replaces,
    replaced_by, version
"""
_REVOKE = """
UPDATE ingest_key SET revoked_at = coalesce(revoked_at, $2), version = version + (revoked_at IS NULL)::integer
WHERE id = $1
RETURNING id, product, created_at, created_by, expires_at, revoked_at, events_per_second, max_body_bytes, replaces,
    replaced_by, version
"""
_FIND = """
SELECT secret_sha256, id, product, expires_at, revoked_at, events_per_second, max_body_bytes
FROM ingest_key WHERE secret_sha256 = ANY ($1)
"""


@dataclass(frozen=True, slots=True)
class IngestKey:
    """An ingest key with what HTTP requests need.

    Where a limit is ``None``, the default of the settings applies.
    """

    id: str
    product: str
    expires_at: datetime | None
    revoked_at: datetime | None
    events_per_second: int | None = None
    max_body_bytes: int | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether the key is accepted at ``now``."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


async def insert_key(connection: Connection, state: IngestKeyState, secret_sha256: bytes) -> bool:
    """Insert a key. Return false if one with this id or secret exists."""
    inserted = await connection.fetchval(
        _INSERT,
        state.id,
        state.product,
        secret_sha256,
        state.created_at,
        state.created_by,
        state.expires_at,
        state.events_per_second,
        state.max_body_bytes,
        state.replaces,
        state.version,
    )
    return inserted is not None


async def lock_key(connection: Connection, key: str) -> IngestKeyState | None:
    """Load a key's state and lock its row; ``None`` if there is no such key."""
    row: Row | None = await connection.fetchrow(_LOCK, key)
    return IngestKeyState(**dict(row)) if row else None


async def replace_key(connection: Connection, key: str, by: str, until: datetime) -> IngestKeyState:
    """Save that key ``by`` replaces this one, which stays valid until ``until``.

    Return the state of the replaced key. The caller has locked its row.
    """
    row: Row | None = await connection.fetchrow(_REPLACE, key, by, until)
    assert row is not None  # noqa: S101  # the caller has locked it
    return IngestKeyState(**dict(row))


async def revoke_key(connection: Connection, key: str, now: datetime) -> IngestKeyState | None:
    """Revoke a key if it is not revoked yet. Return its state.

    ``None`` is returned if there is no such key.
    """
    row: Row | None = await connection.fetchrow(_REVOKE, key, now)
    return IngestKeyState(**dict(row)) if row else None


async def find_keys(connection: Connection, secrets_sha256: Sequence[bytes]) -> dict[bytes, IngestKey]:
    """Find keys by the SHA-256 of their secrets."""
    rows = await connection.fetch(_FIND, secrets_sha256)
    return {row["secret_sha256"]: IngestKey(*tuple(row)[1:]) for row in rows}
