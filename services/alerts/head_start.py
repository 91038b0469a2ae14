"""The head start: ``allocation.events`` is applied up to its end at start before consumption is."""

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer

from services.alerts.settings import AlertsSettings
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.delivery import offsets
from shared.runtime.kafka.client import client_arguments, partitions_of
from shared.runtime.process.health import Check
from shared.runtime.service.command_line import Runtime

STUCK_SECONDS: Final = 60.0
"""Time without progress after which the head start is given up, so that a halted partition does not stop alerts."""
POLL_GAP_MAX_SECONDS: Final = 5.0
"""Most seconds counted between two polls: while Kafka is unavailable there are none."""


class HeadStart:
    """Delays consumption until allocations are current; compared with old ones it would raise false alerts."""

    def __init__(self, runtime: Runtime[AlertsSettings]) -> None:
        self._runtime = runtime
        self._ends: dict[int, int] = {}
        self._reached: dict[int, int] = {}
        self._stuck_seconds = 0.0
        self._polled_at = 0.0

    async def load_ends(self) -> None:
        """Load the end offsets of the topic."""
        settings, client = self._runtime.settings, f"{self._runtime.name}-head-start"
        partitions = await partitions_of(settings, client, [ALLOCATION_EVENTS_TOPIC.name])
        consumer = AIOKafkaConsumer(**client_arguments(settings, client))
        await consumer.start()
        try:
            ends = await consumer.end_offsets(partitions)
        finally:
            await consumer.stop()
        self._ends = {tp.partition: end for tp, end in ends.items() if end}
        self._polled_at = asyncio.get_running_loop().time()

    async def is_over(self) -> bool:
        """Whether the topic has been applied up to those offsets, by any process, or the head start was given up."""
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
        return sorted(one for one, end in self._ends.items() if self._reached.get(one, 0) < end)

    @property
    def _sentence(self) -> str:
        return (
            f"{ALLOCATION_EVENTS_TOPIC.name} has made no progress in partitions {self._missing}: "
            "consumption is compared with the allocations known so far"
        )

    async def _compare(self) -> None:
        stored = await offsets.load(self._runtime.pool, self._runtime.name, ALLOCATION_EVENTS_TOPIC.name)
        now = asyncio.get_running_loop().time()
        waited, self._polled_at = min(now - self._polled_at, POLL_GAP_MAX_SECONDS), now
        if all(stored.get(partition, 0) >= end for partition, end in self._ends.items()):
            self._ends = {}
        elif self._is_given_up:
            self._reached = stored
        elif stored != self._reached:
            self._reached, self._stuck_seconds = stored, 0.0
        else:
            self._stuck_seconds += waited
            if self._is_given_up:
                self._runtime.log.error("head_start_given_up", detail=self._sentence)
