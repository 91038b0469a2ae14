"""Backoff of deliveries: exponential with jitter, for up to 72 hours.

The time of the next attempt is stored in the delivery's row, so it outlives the process and any worker can make it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

GIVE_UP_AFTER = timedelta(hours=72)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pauses between attempts.

    A pause doubles with every attempt from ``first`` up to ``longest``; half of each is jitter.
    """

    first: timedelta = timedelta(seconds=5)
    longest: timedelta = timedelta(hours=4)

    def next_attempt(self, attempts: int, created_at: datetime, now: datetime, chance: float) -> datetime | None:
        """Return when to retry after ``attempts`` failures.

        ``chance`` from [0, 1) sets the jitter. ``None`` is returned if the delivery is to be given up.
        """
        pause = min(self.first * 2 ** min(attempts - 1, 32), self.longest)
        at = now + pause / 2 + pause / 2 * chance
        return at if at < created_at + GIVE_UP_AFTER else None
