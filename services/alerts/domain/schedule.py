"""When a delivery is tried again: exponential back-off with jitter, for up to 72 hours.

The plan lies in the delivery's row, not in a waiting task, so that it outlives the process and any worker can go on.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

GIVE_UP_AFTER = timedelta(hours=72)


@dataclass(frozen=True, slots=True)
class Backoff:
    """``first`` doubles with every attempt, up to ``longest``; half of each pause is jitter."""

    first: timedelta = timedelta(seconds=5)
    longest: timedelta = timedelta(hours=4)

    def next_attempt(self, attempts: int, created_at: datetime, now: datetime, chance: float) -> datetime | None:
        """When to try again after ``attempts`` failures; ``None``: no more. ``chance`` is from [0, 1)."""
        pause = min(self.first * 2 ** min(attempts - 1, 32), self.longest)
        at = now + pause / 2 + pause / 2 * chance
        return at if at < created_at + GIVE_UP_AFTER else None
