"""Event times to the microsecond: finer digits are cut off, not rounded, so that no time moves forward.

Every API reads times so (``shared.events.envelope.Instant``). The typed decoder rounds, so its results are checked.
"""

import re
from typing import Any

_KEY = b'"time":'
_DOT = ord(".")
_FINER = re.compile(r"(?<=\.[0-9]{6})[0-9]+")


def may_be_rounded(raw: bytes) -> bool:
    """Whether the typed decoder may have rounded the event's ``time``: it has seven or more digits of fraction.

    The fraction is taken to be the digits after the first dot behind the key. True as well where the key is not found.
    """
    place = raw.find(_KEY)
    if place < 0:
        return True
    dot = raw.find(_DOT, place)
    return raw[dot + 1 : dot + 8].isdigit()


def cut_time(document: dict[str, Any]) -> dict[str, Any]:
    """Return the event with its ``time`` cut to microseconds, where it has more digits."""
    time = document.get("time")
    return {**document, "time": _FINER.sub("", time, count=1)} if isinstance(time, str) else document
