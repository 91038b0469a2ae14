"""Progress of the benchmarks, on standard error."""

import sys
import time

_started = time.monotonic()


def say(what: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"{time.monotonic() - _started:7.1f} s  {what}", file=sys.stderr, flush=True)
