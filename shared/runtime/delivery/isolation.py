"""Isolation: work for many keys in one transaction, of which one may always fail without stopping the others."""

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
    """What of one key could not be done, and why."""

    whose: str
    items: Sequence[T]
    error: Exception


def concerns_one(error: Exception) -> bool:
    """Whether an error may be one key's alone: a bug or data that it meets, or a row of its own that stays locked.

    Errors that would meet every key (the database or Kafka is away) are not, nor is what a handler says of a record.
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
    """Do ``work`` for all items together; where that fails, for halves, until the keys that fail are alone.

    Theirs leaves no trace in the transaction and is answered. In the usual case that is one savepoint for all.

    Raises:
        HaltError: more than ``failures_max`` keys fail: more likely we are wrong than all of them.
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
