"""Who calls: an ingest key, known by its hash, good for one product."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from fastapi import Request

from services.metering.api.coalesced_lookup import Gathering
from services.metering.store.keys import IngestKey, find_keys
from shared.events.refusals import Refusal
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Pool

MAX_KNOWN = 10_000
WITHIN_SECONDS = 1.4
"""For a key that must be looked up; then it is 503. What follows has the rest of a request's three seconds."""


class KeyRing:
    """Looks keys up, and remembers them for a moment (so a revoked key may work that much longer).

    When half of the moment has passed, the next request with the key has it looked up again without waiting for it: a
    key that is used all the time is never waited for.
    """

    def __init__(self, pool: Pool, clock: Callable[[], datetime], remembered_seconds: float) -> None:
        self._pool = pool
        self._clock = clock
        self._remembered_seconds = remembered_seconds
        self._known: dict[bytes, tuple[float, IngestKey]] = {}
        self._unknown = Gathering(self._look)
        self._renewals: dict[bytes, asyncio.Task[IngestKey | None]] = {}

    async def admit(self, request: Request) -> IngestKey:
        """The valid key that the request carries.

        Raises:
            ProblemError: 401.
            TimeoutError: the database does not say in time.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _unauthenticated("An ingest key is needed: Authorization: Bearer <key>.")
        key = await self._find(hashlib.sha256(token.strip().encode("latin-1", "replace")).digest())
        if key is None or not key.is_valid(self._clock()):
            raise _unauthenticated("The ingest key is not known, has expired, or was revoked.")
        return key

    async def _find(self, digest: bytes) -> IngestKey | None:
        at, known = self._known.get(digest, (0.0, None))
        age = time.monotonic() - at
        if known is None or age >= self._remembered_seconds:
            async with asyncio.timeout(WITHIN_SECONDS):
                return await self._unknown.ask(digest)
        if age >= self._remembered_seconds / 2 and digest not in self._renewals:
            self._renewals[digest] = renewal = asyncio.create_task(self._unknown.ask(digest))
            renewal.add_done_callback(lambda done: self._renewed(digest, done))
        return known

    def _renewed(self, digest: bytes, renewal: "asyncio.Task[IngestKey | None]") -> None:
        del self._renewals[digest]
        if not renewal.cancelled():
            renewal.exception()  # where the database is away, whoever must wait for the key is told

    async def _look(self, digests: Sequence[bytes]) -> list[IngestKey | None]:
        at = time.monotonic()  # before the look: what changes from then on is seen in time
        async with self._pool.acquire() as connection:
            found = await find_keys(connection, digests)
        if len(self._known) + len(found) > MAX_KNOWN:
            self._known.clear()
        self._known.update({digest: (at, key) for digest, key in found.items()})
        return [found.get(digest) for digest in digests]


def _unauthenticated(message: str) -> ProblemError:
    return ProblemError(
        Refusal(code="unauthenticated", message=message), headers={"WWW-Authenticate": 'Bearer realm="unitpool"'}
    )
