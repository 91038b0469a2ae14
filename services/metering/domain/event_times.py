"""Event times, cut to the microsecond.

Finer digits are cut off, not rounded, so that no time moves forward. Every API reads times so
(``shared.events.envelope.Instant``). The typed decoder rounds, so its results are checked.
"""

import re
from typing import Any

_COMPACT_KEY = b'"time":"'
_SEVENTH_AT = len(_COMPACT_KEY) + len("2026-11-29T12:00:00.123456")
"""Distance from the key to the seventh digit of the fraction, in bytes.

It holds for a key written without spaces.
"""
_KEY = b'"time":'
_FRACTION_AT = len(_KEY) + len('"2026-11-29T12:00:00')
_SPACE, _DOT = b" ."
_OFFSET = b"Zz+-"
_FINER = re.compile(r"(?<=\.[0-9]{6})[0-9]+")


def may_be_rounded(raw: bytes) -> bool:
    """Whether the typed decoder may have rounded the event's ``time``.

    It rounds a time with more than six decimals. ``raw``: an event that the typed decoder has read, and without escapes
    in its time. So the fraction or the offset is at a fixed distance from the key. Also true if the key cannot be
    found, because it is written with spaces.
    """
    place = raw.find(_COMPACT_KEY)  # decides nearly every event, in less than half of the time of the rest
    if place >= 0 and not raw[place + _SEVENTH_AT : place + _SEVENTH_AT + 1].isdigit():
        return False
    place = raw.find(_KEY)
    if place < 0:
        return True
    place += _FRACTION_AT + (raw[place + len(_KEY)] == _SPACE)
    if raw[place] in _OFFSET:
        return False
    return raw[place] != _DOT or raw[place + 7 : place + 8].isdigit()


def cut_time(document: dict[str, Any]) -> dict[str, Any]:
    """Return the event with its ``time`` cut to microseconds.

    A ``time`` with fewer digits, or that is not text, is unchanged.
    """
    time = document.get("time")
    return {**document, "time": _FINER.sub("", time, count=1)} if isinstance(time, str) else document
