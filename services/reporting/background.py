"""Upkeep: what is older than it is kept is forgotten. Each part by itself, and in it each customer or person."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from services.reporting.sessions import find_expired, forget_expired
from services.reporting.store.commands import erase_secrets, find_old_secrets
from services.reporting.store.consumption import find_old_consumption, prune_consumption
from services.reporting.store.quarantine import prune_quarantine
from shared.runtime.delivery.isolation import isolate
from shared.runtime.delivery.set_aside_work import PAUSE_MAX_SECONDS, SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.process.background import repeat

KEPT: Final = timedelta(days=366)
SECRETS_KEPT: Final = timedelta(days=1)
"""A secret that was made with a command is kept for so long, sealed, for whoever asks again."""
UPKEEP: Final = "upkeep"


@dataclass(frozen=True, slots=True)
class Part:
    """What is forgotten after some time: ``find`` whose it is (but some), ``forget`` theirs.

    ``is_of_subscriptions``: they may be named where everybody may look; people are not.
    """

    name: str
    kept: timedelta
    find: Callable[[Connection, datetime, Sequence[str]], Awaitable[list[str]]]
    forget: Callable[[Connection, datetime, Sequence[str]], Awaitable[None]]
    is_of_subscriptions: bool = False


async def _the_quarantine(_connection: Connection, _before: datetime, but: Sequence[str]) -> list[str]:
    return [] if but else ["quarantine"]


async def _forget_quarantine(connection: Connection, before: datetime, _whose: Sequence[str]) -> None:
    await prune_quarantine(connection, before)


PARTS: Final = (
    Part("consumption", KEPT, find_old_consumption, prune_consumption, is_of_subscriptions=True),
    Part("quarantine", KEPT, _the_quarantine, _forget_quarantine),
    Part("secrets", SECRETS_KEPT, find_old_secrets, erase_secrets),
    Part("sessions", timedelta(0), find_expired, forget_expired),
)


class Upkeep:
    """Run it as a background task. What fails is set aside, and tried again by itself."""

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
        """Until cancelled."""
        await repeat(self._do_all)

    async def _do_all(self) -> float:
        failed = [await self.do(part) for part in PARTS]
        return min(self._every_seconds, PAUSE_MAX_SECONDS) if any(failed) else self._every_seconds

    async def do(self, part: Part) -> bool:
        """Forget what is due of one part; whether some of it waits for another attempt."""
        before = self._clock() - part.kept
        async with self._transaction() as tx:
            await self._aside.begin(tx.connection)
            known = await self._aside.load(tx.connection, tx.now)
            mine = f"{part.name}/"
            waiting = [key.removeprefix(mine) for key in known.waiting if key.startswith(mine)]
            due = sorted(await part.find(tx.connection, before, waiting))
            failed = await isolate(tx, due, str, partial(part.forget, tx.connection, before))
            for one in failed:
                whose = one.whose if part.is_of_subscriptions else part.name
                await self._aside.add(tx, f"{mine}{one.whose}", whose, one.error)
            failing = {one.whose for one in failed}
            well = [key for key in known.due if key.startswith(mine) and key.removeprefix(mine) not in failing]
            if well:
                await self._aside.clear(tx.connection, well)
        return bool(failed or waiting)
