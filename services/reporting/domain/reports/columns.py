"""The columns of a report, and the types of their values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

ColumnType = Literal["text", "integer", "decimal", "timestamp", "date", "boolean"]
"""The type of a column's values.

``integer``: 64 bits. ``decimal``: a ``Decimal`` with at most 38 digits, ``scale`` of them after the point.
``timestamp``: a ``datetime`` in UTC, to the microsecond. A value may be ``None`` only if the column is ``nullable``.
"""
Value = str | int | Decimal | datetime | date | bool | None
Row = Sequence[Value]
"""The values of a row, in the order of its report's columns."""
DEFAULT_SCALE = 9
MONEY_SCALE = 3
"""Digits after the point of money: no currency has more (ISO 4217)."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: ``description`` is one sentence, with the unit of its values.

    ``name``: the header in every format, and the member in JSON. ``scale``: digits after the point of a ``decimal``.
    """

    name: str
    type: ColumnType
    description: str
    nullable: bool = False
    scale: int = DEFAULT_SCALE
