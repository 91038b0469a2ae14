"""Opaque cursors: where a page ended, so that the next begins after it whatever was added meanwhile."""

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
"""Of what a place may consist of: names that somebody claimed, of characters that take the most room."""


class CursorError(ValueError):
    """The cursor is none of ours."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list, and the cursor of what follows."""

    items: list[T]
    next_cursor: str | None


def write_cursor(*place: str) -> str:
    """The cursor of a place."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None, parts: int) -> list[str] | None:
    """The place that a cursor names; ``None`` for the beginning.

    Raises:
        CursorError: it is not a cursor of a place with so many parts.
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
    """The day in a place.

    Raises:
        CursorError: it is none.
    """
    try:
        return date.fromisoformat(part)
    except ValueError:
        raise CursorError("not a cursor of this list") from None


def page(
    rows: Sequence[Row], limit: int, read: Callable[[Row], T], place: Callable[[Row], tuple[str, ...]], table: str
) -> Page[T]:
    """A page of ``limit`` from rows of ``table`` that were fetched one more than that.

    A row that cannot be read is left out; ``place`` is of rows, so that the list goes on behind it.
    """
    shown = rows[:limit]
    more = len(rows) > limit and shown
    return Page(decode_rows(shown, read, table), write_cursor(*place(shown[-1])) if more else None)
