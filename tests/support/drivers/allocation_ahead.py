"""Run allocation with a clock that is 45 days ahead."""

import datetime as datetimes
import sys
import time
from datetime import timedelta, tzinfo

AHEAD = timedelta(days=45)
_time = time.time


class Ahead(datetimes.datetime):
    """A clock that is ``AHEAD`` of the system's."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Ahead":
        """The present time plus ``AHEAD``."""
        return super().now(tz) + AHEAD


if __name__ == "__main__":
    time.time = lambda: _time() + AHEAD.total_seconds()

    from shared.runtime.process import clock

    clock.datetime = Ahead  # type: ignore[attr-defined]

    from services.allocation.main import main

    sys.exit(main())
