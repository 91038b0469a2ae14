"""Upkeep: deletion of rows older than their retention.

A failure is isolated to its part and, within the part, to one owner.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from services.reporting.sessions import delete_expired, find_expired
from services.reporting.store.commands import erase_secrets, find_old_secrets
from services.reporting.store.consumption import find_old_consumption, prune_consumption
from services.reporting.store.quarantine import prune_quarantine
from services.reporting.store.revision_retention import (
    delete_last,
    find_daily,
    find_hourly,
    find_last,
    thin_days,
    thin_hours,
)
from services.reporting.store.state_versions import find_old_versions, prune_versions
from services.reporting.store.statements import find_old_statements, prune_statements
from services.reporting.store.usage_days import find_old_days, prune_days
from shared.runtime.delivery.isolation import isolate
from shared.runtime.delivery.set_aside_work import PAUSE_MAX_SECONDS, SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.process.background import repeat

RETENTION: Final = timedelta(days=366)
HOURLY_RETENTION: Final = timedelta(days=45)
"""Retention of each hour's last revision of a window that was open then."""
DAYS_RETENTION: Final = timedelta(days=396)
"""Retention of usage by day.

395 days are shown, and one more where the first begins earlier in UTC.
"""
SECRETS_RETENTION: Final = timedelta(days=1)
"""Retention of a secret that was created with a command.

A repeat of the command within this time is answered with the secret.
"""
UPKEEP: Final = "upkeep"


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of rows with a retention.

    ``find`` lists the owners of expired rows, except those already set aside; ``delete`` deletes the rows of owners.
    ``is_of_subscriptions``: owners are subscriptions, which logs and readiness may name; people they may not.
    """

    name: str
    retention: timedelta
    find: Callable[[Connection, datetime, Sequence[str]], Awaitable[list[str]]]
    delete: Callable[[Connection, datetime, Sequence[str]], Awaitable[None]]
    is_of_subscriptions: bool = False


async def _find_quarantine(_connection: Connection, _before: datetime, except_for: Sequence[str]) -> list[str]:
    return [] if except_for else ["quarantine"]


async def _delete_settled(connection: Connection, before: datetime, _owners: Sequence[str]) -> None:
    await prune_quarantine(connection, before)


PARTS: Final = (
    Part("consumption", RETENTION, find_old_consumption, prune_consumption, is_of_subscriptions=True),
    Part("hourly revisions", HOURLY_RETENTION, find_hourly, thin_hours, is_of_subscriptions=True),
    Part("daily revisions", RETENTION, find_daily, thin_days, is_of_subscriptions=True),
    Part("last revisions", 2 * RETENTION, find_last, delete_last, is_of_subscriptions=True),
    Part("versions", RETENTION, find_old_versions, prune_versions, is_of_subscriptions=True),
    Part("statements", RETENTION, find_old_statements, prune_statements, is_of_subscriptions=True),
    Part("days", DAYS_RETENTION, find_old_days, prune_days, is_of_subscriptions=True),
    Part("quarantine", RETENTION, _find_quarantine, _delete_settled),
    Part("secrets", SECRETS_RETENTION, find_old_secrets, erase_secrets),
    Part("sessions", timedelta(0), find_expired, delete_expired),
)


class Upkeep:
    """The background task of upkeep.

    Owners whose deletion fails are set aside and retried.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        clock: Callable[[], datetime],
        aside: SetAside,
        *,
        every_seconds: float,
    ) -> None:
        self._transaction = transaction
        self._clock = clock
        self._aside = aside
        self._every_seconds = every_seconds

    async def run(self) -> None:
        """Delete expired rows at intervals, until cancelled."""
        await repeat(self._run_all)

    async def _run_all(self) -> float:
        failed = [await self.run_part(part) for part in PARTS]
        return min(self._every_seconds, PAUSE_MAX_SECONDS) if any(failed) else self._every_seconds

    async def run_part(self, part: Part) -> bool:
        """Delete the expired rows of one part; return whether any owner is set aside."""
        before = self._clock() - part.retention
        async with self._transaction() as tx:
            await self._aside.begin(tx.connection)
            known = await self._aside.load(tx.connection, tx.now)
            prefix = f"{part.name}/"
            waiting = [key.removeprefix(prefix) for key in known.waiting if key.startswith(prefix)]
            due = sorted(await part.find(tx.connection, before, waiting))
            failed = await isolate(tx, due, str, partial(part.delete, tx.connection, before))
            for one in failed:
                whose = one.whose if part.is_of_subscriptions else part.name
                await self._aside.add(tx, f"{prefix}{one.whose}", whose, one.error)
            failing = {one.whose for one in failed}
            recovered = [key for key in known.due if key.startswith(prefix) and key.removeprefix(prefix) not in failing]
            if recovered:
                await self._aside.clear(tx.connection, recovered)
        return bool(failed or waiting)
