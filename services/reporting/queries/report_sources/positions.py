"""Positions: the key of the last row that was read, as text."""

import json
from datetime import UTC, datetime

from services.reporting.queries.report_rows import Position

BEFORE_ALL = datetime(1, 1, 1, tzinfo=UTC)
"""A time before all rows of a table."""


def write_position(*key: str | int | None) -> Position:
    """Encode a key."""
    return json.dumps(key, ensure_ascii=False, separators=(",", ":"))


def read_position(position: Position | None, *first: str | int | None) -> list[str]:
    """Decode a key; ``None``: ``first``, which is before all rows.

    Numbers and ``None`` are decoded to text, ``None`` to ``""``.
    """
    key = list(first) if position is None else json.loads(position)
    return ["" if one is None else str(one) for one in key]
