"""The times of events, read to the microsecond: what is finer is cut off, never rounded, so that no time moves forward.

That is how every API of ours reads a time (``shared.events.envelope.Instant``). The bulk decoder rounds.
"""

import re
from typing import Any

_KEY = b'"time":'
_FRACTION_AT = len(_KEY) + len('"2026-11-29T12:00:00')
_SPACE, _DOT = b" ."
_OFFSET = b"Zz+-"
_FINER = re.compile(r"(?<=\.[0-9]{6})[0-9]+")


def may_be_rounded(raw: bytes) -> bool:
    """Whether the bulk decoder may have rounded the ``time`` of an event that it has read: it cannot be ruled out.

    The text of a time that was read has its fraction, or its offset, in a fixed place behind the key. A key that is
    written in another way is not found, and rules out nothing. No character may be written as an escape.
    """
    place = raw.find(_KEY)
    if place < 0:
        return True
    place += _FRACTION_AT + (raw[place + len(_KEY)] == _SPACE)
    if raw[place] in _OFFSET:
        return False
    return raw[place] != _DOT or raw[place + 7 : place + 8].isdigit()


def cut_time(document: dict[str, Any]) -> dict[str, Any]:
    """The event with its ``time`` in microseconds, where it says more."""
    time = document.get("time")
    return {**document, "time": _FINER.sub("", time, count=1)} if isinstance(time, str) else document
