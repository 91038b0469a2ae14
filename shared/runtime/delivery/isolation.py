"""Isolation: work for many keys in one transaction.

A key that fails does not stop the others.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import asyncpg

from shared.runtime.delivery.backoff import is_transient
from shared.runtime.delivery.batch_runner import HaltError, RewoundError
from shared.runtime.delivery.transaction import PermanentError, Transaction

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failed(Generic[T]):
    """The items of one key, ``whose``, for which the work failed, and the error."""

    whose: str
    items: Sequence[T]
    error: Exception


def concerns_one(error: Exception) -> bool:
    """Return whether an error may concern one key alone.

    Such an error is a bug that the key's data meets, or a row of the key that stays locked.

    Transient errors concern every key (the database or Kafka is away). Permanent ones are for the batch runner.
    """
    if isinstance(error, asyncpg.LockNotAvailableError):
        return True
    return not (isinstance(error, (PermanentError, HaltError, RewoundError)) or is_transient(error))


async def isolate(
    tx: Transaction,
    items: Sequence[T],
    whose: Callable[[T], str],
    work: Callable[[Sequence[T]], Awaitable[None]],
    *,
    failures_max: int | None = None,
) -> list[Failed[T]]:
    """Do ``work`` for all items together, and isolate each key that fails.

    On failure the work is done for halves, until each failing key is alone.

    ``whose`` returns the key of an item, such as its subscription. Returns the failed keys, whose work is rolled back.
    Without failures this costs one savepoint.

    Raises:
        HaltError: more than ``failures_max`` keys fail, so the fault is probably ours.
        Exception: an error that does not concern one key.
    """
    failed: list[Failed[T]] = []
    parts = [list(items)] if items else []
    while parts:
        part = parts.pop()
        try:
            async with tx.savepoint():
                await work(part)
        except Exception as error:
            if not concerns_one(error):
                raise
            tx.cause = tx.record = None
            keys = list(dict.fromkeys(map(whose, part)))
            if len(keys) > 1:
                first = frozenset(keys[: len(keys) // 2])
                parts.append([item for item in part if whose(item) not in first])
                parts.append([item for item in part if whose(item) in first])
                continue
            failed.append(Failed(keys[0], part, error))
            if failures_max is not None and len(failed) > failures_max:
                raise HaltError(
                    f"halted: the work for more than {failures_max} keys of one batch fails, the last with "
                    f"{type(error).__name__}. See the log for why, repair it, restart the service"
                ) from error
    return failed
