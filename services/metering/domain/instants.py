"""The times of events, read to the microsecond: what is finer is cut off, never rounded, so that no time moves forward.

That is how every API of ours reads a time (``shared.events.envelope.Instant``). The bulk decoder rounds.
"""

import re
from typing import Any

_KEY = b'"time":'
_DOT = ord(".")
_FINER = re.compile(r"(?<=\.[0-9]{6})[0-9]+")


def may_be_rounded(raw: bytes) -> bool:
    """Whether the bulk decoder may have rounded the ``time`` of an event that it has read: it cannot be ruled out.

    A time has its fraction in the first digits after a dot that follow the key; a key that is written in another way
    is not found, and rules out nothing.
    """
    place = raw.find(_KEY)
    if place < 0:
        return True
    dot = raw.find(_DOT, place)
    return raw[dot + 1 : dot + 8].isdigit()


def cut_time(document: dict[str, Any]) -> dict[str, Any]:
    """The event with its ``time`` in microseconds, where it says more."""
    time = document.get("time")
    return {**document, "time": _FINER.sub("", time, count=1)} if isinstance(time, str) else document
