"""Decoding of stored rows.

One that cannot be decoded is logged, counted and left out.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from shared.runtime.postgres.pool import Row
from shared.runtime.process import logging, metrics

T = TypeVar("T")

_log = logging.get("rows")


def decode_rows(rows: Iterable[Row], decode: Callable[[Row], T], table: str) -> list[T]:
    """Decode each row, leaving out those for which ``decode`` fails.

    The log names these by their first column. Such a row was written by another release or by hand, and the other rows
    must stay readable.
    """
    decoded: list[T] = []
    for row in rows:
        try:
            decoded.append(decode(row))
        except Exception as error:
            metrics.UNREADABLE_ROWS.labels(table=table).inc()
            _log.error("row_not_read", table=table, key=str(row[0]), exc_info=error)
    return decoded
