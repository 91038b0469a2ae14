"""Ingest keys: the SHA-256 of each."""

from dataclasses import dataclass
from datetime import datetime

from shared.events.metering import IngestKeyState
from shared.runtime.postgres import Connection, Row

_INSERT = """
INSERT INTO ingest_key (id, product, secret_sha256, created_at, created_by, expires_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING id
"""
_REVOKE = """
UPDATE ingest_key SET revoked_at = coalesce(revoked_at, $2), version = version + (revoked_at IS NULL)::integer
WHERE id = $1
RETURNING id, product, created_at, created_by, expires_at, revoked_at, version
"""
_FIND = "SELECT id, product, expires_at, revoked_at FROM ingest_key WHERE secret_sha256 = $1"


@dataclass(frozen=True, slots=True)
class IngestKey:
    """A key as the HTTP door needs it."""

    id: str
    product: str
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Whether it opens the door."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


async def insert_key(connection: Connection, state: IngestKeyState, secret_sha256: bytes) -> bool:
    """Keep a new key; false where there is one with this id or secret."""
    inserted = await connection.fetchval(
        _INSERT,
        state.id,
        state.product,
        secret_sha256,
        state.created_at,
        state.created_by,
        state.expires_at,
        state.version,
    )
    return inserted is not None


async def revoke_key(connection: Connection, key: str, now: datetime) -> IngestKeyState | None:
    """Revoke it, where it is not already; its state, or ``None`` where there is no such key."""
    row: Row | None = await connection.fetchrow(_REVOKE, key, now)
    return IngestKeyState(**dict(row)) if row else None


async def find_key(connection: Connection, secret_sha256: bytes) -> IngestKey | None:
    """The key with this hash."""
    row: Row | None = await connection.fetchrow(_FIND, secret_sha256)
    return IngestKey(**dict(row)) if row else None
