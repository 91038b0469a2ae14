"""``allocation.events`` is read first, as far as it reaches when the process starts."""

import asyncio
from typing import Final

from services.alerts.settings import AlertsSettings
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.delivery.topic_end import Partition, load_applied, load_ends
from shared.runtime.process.health import Check
from shared.runtime.service.command_line import Runtime

STUCK_SECONDS: Final = 60.0
"""A head start that comes no further for so long is given up: a partition that nobody reads stops no alerts."""
ASKED_SECONDS: Final = 5.0
"""Time in which nobody asks, as while Kafka is away, counts as no more than this."""


class HeadStart:
    """Consumption waits for it, a while: compared with old allocations it would raise false alerts."""

    def __init__(self, runtime: Runtime[AlertsSettings]) -> None:
        self._runtime = runtime
        self._ends: dict[Partition, int] = {}
        self._reached: dict[Partition, int] = {}
        self._stuck_seconds = 0.0
        self._asked_at = 0.0

    async def look(self) -> None:
        """Where the topic ends."""
        client = f"{self._runtime.name}-head-start"
        self._ends = await load_ends(self._runtime.settings, client, [ALLOCATION_EVENTS_TOPIC.name])
        self._asked_at = asyncio.get_running_loop().time()

    async def is_over(self) -> bool:
        """Whether all of it has been applied, by whichever process, or it was waited for in vain."""
        if self._ends:
            await self._compare()
        return not self._ends or self._is_given_up

    async def check(self) -> Check:
        """For readiness: no other process is better off."""
        if self._ends and self._is_given_up:
            await self._compare()
        if not self._ends:
            return Check(ok=True, detail="over")
        if not self._is_given_up:
            return Check(ok=True, detail=f"partitions {self._missing} of {ALLOCATION_EVENTS_TOPIC.name} are being read")
        return Check(ok=False, detail=self._sentence, shared=True)

    @property
    def _is_given_up(self) -> bool:
        return self._stuck_seconds >= STUCK_SECONDS

    @property
    def _missing(self) -> list[int]:
        return sorted(one[1] for one, end in self._ends.items() if self._reached.get(one, 0) < end)

    @property
    def _sentence(self) -> str:
        return (
            f"{ALLOCATION_EVENTS_TOPIC.name} is not read further in partitions {self._missing}: "
            "consumption is compared with the allocations known so far"
        )

    async def _compare(self) -> None:
        reached = await load_applied(self._runtime.pool, self._runtime.name, self._ends)
        now = asyncio.get_running_loop().time()
        waited, self._asked_at = min(now - self._asked_at, ASKED_SECONDS), now
        if reached == self._ends:
            self._ends = {}
        elif self._is_given_up:
            self._reached = reached
        elif reached != self._reached:
            self._reached, self._stuck_seconds = reached, 0.0
        else:
            self._stuck_seconds += waited
            if self._is_given_up:
                self._runtime.log.error("head_start_given_up", detail=self._sentence)
