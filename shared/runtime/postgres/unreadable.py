"""Stored rows that cannot be read: each costs only itself, and is logged and counted."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from shared.runtime.postgres.pool import Row
from shared.runtime.process import logging, metrics

T = TypeVar("T")

_log = logging.get("unreadable")


@contextmanager
def passing_over(table: str, key: str) -> Iterator[None]:
    """Pass over the row that the block reads, where it cannot be read.

    Such a row was written by another release or by hand: what reads many rows for many people goes on without it.
    """
    try:
        yield
    except Exception as error:
        metrics.UNREADABLE_ROWS.labels(table=table).inc()
        _log.error("row_not_read", table=table, key=key, exc_info=error)


def read_each(rows: Iterable[Row], read: Callable[[Row], T], table: str) -> list[T]:
    """What ``read`` makes of each row, without those that cannot be read; the log names a row by its first column."""
    found: list[T] = []
    for row in rows:
        with passing_over(table, str(row[0])):
            found.append(read(row))
    return found
