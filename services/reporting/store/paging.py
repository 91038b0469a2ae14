"""Opaque cursors: the place where a page ended.

The next page continues after it, despite insertions.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Generic, TypeVar

from shared.runtime.postgres.pool import Row
from shared.runtime.postgres.row_decoding import decode_rows

T = TypeVar("T")
MAX_CURSOR_LENGTH = 6000
"""Longest cursor, in characters.

Its parts are names, whose characters may take up to 12 bytes each in JSON.
"""


class CursorError(ValueError):
    """The cursor is not a cursor of this list."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, and the cursor of the rest; ``None``: nothing follows."""

    items: list[T]
    next_cursor: str | None


def write_cursor(*place: str) -> str:
    """Encode a place as a cursor."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None, parts: int) -> list[str] | None:
    """Decode a cursor to a place of ``parts`` parts; ``None``: the beginning.

    Raises:
        CursorError: it does not decode to such a place.
    """
    if cursor is None:
        return None
    try:
        if len(cursor) > MAX_CURSOR_LENGTH:
            raise CursorError("too long")
        place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise CursorError("not a cursor") from error
    if not isinstance(place, list) or len(place) != parts:
        raise CursorError("not a cursor of this list")
    if not all(isinstance(part, str) and "\0" not in part and part.isprintable() for part in place):
        raise CursorError("not a cursor of this list")
    return place


def read_day(part: str) -> date:
    """Parse a day in a place.

    Raises:
        CursorError: it cannot be parsed.
    """
    try:
        return date.fromisoformat(part)
    except ValueError:
        raise CursorError("not a cursor of this list") from None


def page(
    rows: Sequence[Row], limit: int, read: Callable[[Row], T], place: Callable[[Row], tuple[str, ...]], table: str
) -> Page[T]:
    """Build a page from up to ``limit`` + 1 fetched rows of ``table``.

    A row that cannot be decoded is left out; ``place`` takes rows, so that the next page continues after such a row.
    """
    shown = rows[:limit]
    more = len(rows) > limit and shown
    return Page(decode_rows(shown, read, table), write_cursor(*place(shown[-1])) if more else None)
