"""Authentication of platforms by ingest keys.

A key is stored as its hash and is valid for one product.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from fastapi import Request

from services.metering.api.coalesced_lookup import CoalescedLookup
from services.metering.store.keys import IngestKey, find_keys
from shared.events.refusals import Refusal
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Pool

CACHE_SIZE_MAX = 10_000
LOOKUP_TIMEOUT_SECONDS = 1.4
"""Longest wait for the lookup of a key, after which the answer is 503.

The rest of the request has what is left of 3 s.
"""


class KeyRing:
    """Ingest keys, cached for ``cache_seconds``.

    For that long a revoked key may still be accepted. After half of that time the next request with the key starts a
    lookup in the background: a key in constant use never waits for the database.
    """

    def __init__(self, pool: Pool, clock: Callable[[], datetime], cache_seconds: float) -> None:
        self._pool = pool
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._cache: dict[bytes, tuple[float, IngestKey]] = {}
        self._lookups = CoalescedLookup(self._lookup)
        self._renewals: dict[bytes, asyncio.Task[IngestKey | None]] = {}

    async def admit(self, request: Request) -> IngestKey:
        """Return the valid key of the request.

        Raises:
            ProblemError: 401, the key is missing, unknown, expired or revoked.
            TimeoutError: the database did not answer in time.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _unauthenticated("An ingest key is needed: Authorization: Bearer <key>.")
        key = await self._find(hashlib.sha256(token.strip().encode("latin-1", "replace")).digest())
        if key is None or not key.is_valid(self._clock()):
            raise _unauthenticated("The ingest key is not known, has expired, or was revoked.")
        return key

    async def _find(self, digest: bytes) -> IngestKey | None:
        at, known = self._cache.get(digest, (0.0, None))
        age = time.monotonic() - at
        if known is None or age >= self._cache_seconds:
            async with asyncio.timeout(LOOKUP_TIMEOUT_SECONDS):
                return await self._lookups.get(digest)
        if age >= self._cache_seconds / 2 and digest not in self._renewals:
            self._renewals[digest] = renewal = asyncio.create_task(self._lookups.get(digest))
            renewal.add_done_callback(lambda done: self._finish_renewal(digest, done))
        return known

    def _finish_renewal(self, digest: bytes, renewal: "asyncio.Task[IngestKey | None]") -> None:
        del self._renewals[digest]
        if not renewal.cancelled():
            renewal.exception()  # retrieved; while the database is away, the next request that must wait gets it

    async def _lookup(self, digests: Sequence[bytes]) -> list[IngestKey | None]:
        at = time.monotonic()  # before the read: a change after it is noticed within the cache time
        async with self._pool.acquire() as connection:
            found = await find_keys(connection, digests)
        if len(self._cache) + len(found) > CACHE_SIZE_MAX:
            self._cache.clear()
        self._cache.update({digest: (at, key) for digest, key in found.items()})
        return [found.get(digest) for digest in digests]


def _unauthenticated(message: str) -> ProblemError:
    return ProblemError(
        Refusal(code="unauthenticated", message=message), headers={"WWW-Authenticate": 'Bearer realm="unitpool"'}
    )
