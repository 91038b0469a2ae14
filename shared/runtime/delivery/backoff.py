"""Transient errors: which they are, and the pause before each retry.

A run of failures also counts how long it has lasted.
"""

import random
import time

from aiokafka.errors import KafkaError

from shared.runtime.delivery.transaction import TransientError
from shared.runtime.postgres.pool import is_transient_database_error

DELAY_SECONDS = 0.1
"""First pause; it doubles with each failure."""
ALARM_SECONDS = 15
"""A run of failures that lasts longer makes the service not ready."""


def is_transient(error: Exception) -> bool:
    """Whether a retry can succeed without a change of the data or the code."""
    return isinstance(error, (TransientError, KafkaError)) or is_transient_database_error(error)


class Backoff:
    """The pauses of one run of failures, which ends with the next success."""

    def __init__(self, delay_max_seconds: float) -> None:
        self.failures = 0
        self.reason = ""
        self.is_kafka = False
        """Whether the last failure was an error of Kafka."""
        self._delay_max = delay_max_seconds
        self._since: float | None = None

    def add(self, error: Exception) -> float:
        """Count a failure and return the pause before the retry, in seconds.

        It is what the error asks for, or else exponential with jitter; never more than the longest pause.
        """
        self.failures += 1
        self._since = self._since or time.monotonic()
        self.is_kafka = isinstance(error, KafkaError)
        self.reason = f"{type(error).__name__}: {error}"
        asked = error.delay_seconds if isinstance(error, TransientError) else None
        backoff = DELAY_SECONDS * 2 ** min(self.failures - 1, 16) * random.uniform(0.5, 1.0)  # noqa: S311
        return min(backoff if asked is None else asked, self._delay_max)

    def pause_if_transient(self, error: Exception) -> float:
        """Count a transient failure as ``add`` does; raise any other error."""
        if not is_transient(error):
            raise error
        return self.add(error)

    def reset(self) -> None:
        """End the run of failures: an attempt succeeded."""
        self.failures, self._since = 0, None

    @property
    def fault(self) -> str | None:
        """A sentence for readiness, if the failures last too long.

        ``None`` until they have lasted for more than ``ALARM_SECONDS``.
        """
        lasted = 0 if self._since is None else time.monotonic() - self._since
        return f"retrying for {lasted:.0f} s: {self.reason}" if lasted > ALARM_SECONDS else None
