"""The catch-up with allocation.events at the start of the service.

Consumption waits until the topic is applied up to its end at that time.
"""

import asyncio
from typing import Final

from services.alerts.settings import AlertsSettings
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.delivery.topic_end import Partition, load_applied, load_ends
from shared.runtime.process.health import Check
from shared.runtime.service.command_line import Runtime

STUCK_SECONDS: Final = 60.0
"""Time without progress after which the catch-up is given up.

A halted partition then does not stop alerts.
"""
POLL_GAP_MAX_SECONDS: Final = 5.0
"""Most seconds without progress counted between two polls.

While Kafka is unavailable there are no polls.
"""


class AllocationCatchUp:
    """The delay of consumption until allocations are current.

    Compared with old allocations, consumption would raise false alerts.
    """

    def __init__(self, runtime: Runtime[AlertsSettings]) -> None:
        self._runtime = runtime
        self._ends: dict[Partition, int] = {}
        self._reached: dict[Partition, int] = {}
        self._stuck_seconds = 0.0
        self._polled_at = 0.0

    async def load_ends(self) -> None:
        """Load the end offsets of the topic."""
        client = f"{self._runtime.name}-head-start"
        self._ends = await load_ends(self._runtime.settings, client, [ALLOCATION_EVENTS_TOPIC.name])
        self._polled_at = asyncio.get_running_loop().time()

    async def is_over(self) -> bool:
        """Whether the catch-up has ended.

        It ends when the topic has been applied up to the loaded offsets, by any process, or when it is given up.
        """
        if self._ends:
            await self._compare()
        return not self._ends or self._is_given_up

    async def check(self) -> Check:
        """Check for readiness. A failure is shared: other processes have the same."""
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
            f"{ALLOCATION_EVENTS_TOPIC.name} has made no progress in partitions {self._missing}: "
            "consumption is compared with the allocations known so far"
        )

    async def _compare(self) -> None:
        reached = await load_applied(self._runtime.pool, self._runtime.name, self._ends)
        now = asyncio.get_running_loop().time()
        waited, self._polled_at = min(now - self._polled_at, POLL_GAP_MAX_SECONDS), now
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
