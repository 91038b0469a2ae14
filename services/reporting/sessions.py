"""Sessions of the page, one row each.

A row is found by the hash of an id that only the browser stores.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.runtime.postgres.pool import Connection, Pool

LIFETIME = timedelta(hours=10)
IDLE = timedelta(hours=2)
_TOUCH_INTERVAL = timedelta(minutes=1)

_INSERT = """
INSERT INTO sessions (id_sha256, email, name, vendor, created_at, seen_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $5, $6)
"""
_FIND_EXPIRED = "SELECT DISTINCT email FROM sessions WHERE expires_at <= $1 AND email <> ALL($2::text[])"
_DELETE_EXPIRED = "DELETE FROM sessions WHERE expires_at <= $1 AND email = ANY($2::text[])"
_DELETE = "DELETE FROM sessions WHERE id_sha256 = $1"
_FIND = """
SELECT s.email, s.name, CASE WHEN w.said_at > s.created_at THEN w.vendor ELSE s.vendor END AS vendor, s.seen_at,
    s.expires_at
FROM sessions AS s LEFT JOIN issuer_words AS w ON w.email = s.email
WHERE s.id_sha256 = $1 AND s.expires_at > $2 AND s.seen_at > $3
"""
_TOUCH = "UPDATE sessions SET seen_at = $2 WHERE id_sha256 = $1 AND seen_at < $2"


@dataclass(frozen=True, slots=True)
class Person:
    """The person who is signed in. ``ends_in_seconds``: until the session expires."""

    email: str
    name: str
    vendor: bool
    ends_in_seconds: float = LIFETIME.total_seconds()


class Sessions:
    """Begin, find and end sessions."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(self, person: Person, now: datetime) -> str:
        """Insert a session and return its id, for the cookie."""
        session = secrets.token_urlsafe(32)
        async with self._pool.acquire() as connection:
            await connection.execute(
                _INSERT, _digest(session), person.email, person.name, person.vendor, now, now + LIFETIME
            )
        return session

    async def find(self, session: str, now: datetime, *, renew: bool = True) -> Person | None:
        """Find the person of a session that is still valid.

        A session is valid until it expires or has been idle for too long.

        ``renew``: count the request as activity. Requests that the page sends without the person do not count.
        """
        digest = _digest(session)
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(_FIND, digest, now, now - IDLE)
            if row is None:
                return None
            if renew and row["seen_at"] < now - _TOUCH_INTERVAL:
                await connection.execute(_TOUCH, digest, now)
        return Person(row["email"], row["name"], row["vendor"], (row["expires_at"] - now).total_seconds())

    async def end(self, session: str) -> None:
        """Delete the session."""
        async with self._pool.acquire() as connection:
            await connection.execute(_DELETE, _digest(session))


async def find_expired(connection: Connection, now: datetime, except_for: Sequence[str]) -> list[str]:
    """List people with expired sessions, without those of ``except_for``."""
    return [row["email"] for row in await connection.fetch(_FIND_EXPIRED, now, list(except_for))]


async def delete_expired(connection: Connection, now: datetime, people: Sequence[str]) -> None:
    """Delete the expired sessions of these people."""
    await connection.execute(_DELETE_EXPIRED, now, list(people))


def _digest(session: str) -> bytes:
    return hashlib.sha256(session.encode()).digest()
