"""Errors that pass: which they are, how long to wait before the next attempt, and since when it has been going on."""

import random
import time

from aiokafka.errors import KafkaError

from shared.runtime.delivery.transaction import TransientError
from shared.runtime.postgres.pool import is_passing

DELAY_SECONDS = 0.1
ALARM_SECONDS = 15
"""Trying again for longer than this makes the service not ready."""


def passes(error: Exception) -> bool:
    """Whether the same may succeed later, without anyone changing the data or the code."""
    return isinstance(error, (TransientError, KafkaError)) or is_passing(error)


class Trouble:
    """A run of failures, until something succeeds."""

    def __init__(self, delay_max_seconds: float) -> None:
        self.failures = 0
        self.reason = ""
        self.is_kafka = False
        """Whether the last one was Kafka's."""
        self._delay_max = delay_max_seconds
        self._since: float | None = None

    def add(self, error: Exception) -> float:
        """One more; the seconds to wait: what the error asks for, or an exponential back-off with jitter."""
        self.failures += 1
        self._since = self._since or time.monotonic()
        self.is_kafka = isinstance(error, KafkaError)
        self.reason = f"{type(error).__name__}: {error}"
        asked = error.delay_seconds if isinstance(error, TransientError) else None
        backoff = DELAY_SECONDS * 2 ** min(self.failures - 1, 16) * random.uniform(0.5, 1.0)  # noqa: S311
        return min(backoff if asked is None else asked, self._delay_max)

    def pause(self, error: Exception) -> float:
        """``add`` for a transient error; any other is raised."""
        if not passes(error):
            raise error
        return self.add(error)

    def over(self) -> None:
        """It went well."""
        self.failures, self._since = 0, None

    @property
    def fault(self) -> str | None:
        """A sentence, when it has lasted for too long."""
        lasted = 0 if self._since is None else time.monotonic() - self._since
        return f"trying again for {lasted:.0f} s: {self.reason}" if lasted > ALARM_SECONDS else None
