"""The one place that asks for the time. Everything else is given ``now`` or a clock."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present instant, in UTC, by this machine's clock."""
    return datetime.now(UTC)
