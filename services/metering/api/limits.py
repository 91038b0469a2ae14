"""Limits of an ingest key, counted per process.

They are events per second (a token bucket) and bytes per request. A request is admitted while the bucket is not empty,
and takes one token per event even if that makes the bucket negative: a full batch is never too large for a small limit,
and later requests wait until the debt is refilled.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.metering.api.request_body import BodyError
from services.metering.store.keys import IngestKey
from shared.events.refusals import Refusal
from shared.runtime.http.middleware import ProblemError

MAX_BUCKETS = 10_000


@dataclass(slots=True)
class _Bucket:
    rate: float
    level: float
    at: float


class KeyLimits:
    """Token buckets of all keys. A key's own limits replace the defaults given here."""

    def __init__(
        self,
        *,
        events_per_second: int,
        burst_seconds: float,
        max_body_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events_per_second = events_per_second
        self._burst_seconds = burst_seconds
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def admit(self, key: IngestKey) -> None:
        """Admit a request of the key.

        Raises:
            ProblemError: ``too_many_requests``, with ``Retry-After`` in seconds.
        """
        bucket = self._bucket(key)
        if bucket is not None and bucket.level <= 0:
            seconds = max(1, math.ceil(-bucket.level / bucket.rate))
            details = {"events_per_second": bucket.rate}
            message = "The key has sent more events than its limit. Send the same again after Retry-After seconds."
            refusal = Refusal(code="too_many_requests", message=message, details=details)
            raise ProblemError(refusal, headers={"Retry-After": str(seconds)})

    def spend(self, key: IngestKey, events: int) -> None:
        """Take the tokens of a request with so many events; an empty request takes one."""
        bucket = self._bucket(key)
        if bucket is not None:
            bucket.level -= max(1, events)

    def check_size(self, key: IngestKey, size_bytes: int) -> None:
        """Refuse a body that is too large for the key.

        Raises:
            BodyError: 413.
        """
        limit = key.max_body_bytes or self._max_body_bytes
        if size_bytes > limit:
            raise BodyError(413, "too_large", f"The body may have {limit} bytes at most with this key.")

    def _bucket(self, key: IngestKey) -> _Bucket | None:
        """Return the key's bucket, refilled until now; ``None`` without a limit."""
        rate = float(key.events_per_second or self._events_per_second)
        if not rate:
            return None
        full, now = max(1.0, rate * self._burst_seconds), self._clock()
        bucket = self._buckets.get(key.id)
        if bucket is None or bucket.rate != rate:
            if len(self._buckets) >= MAX_BUCKETS:
                self._buckets.clear()
            bucket = self._buckets[key.id] = _Bucket(rate, full, now)
        bucket.level = min(full, bucket.level + (now - bucket.at) * rate)
        bucket.at = now
        return bucket
