"""Sending of many records to one topic in batches that are filled here.

This saves a future for each record.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from aiokafka.producer.message_accumulator import BatchBuilder
from murmurhash2 import murmurhash2

from shared.runtime.kafka.producer import Producer

Outcome: TypeAlias = "asyncio.Future[Exception | None]"

_SEED = 0x9747B28C


class BulkProducer:
    """Sends to one topic, through a producer that may have other uses.

    Each partition has one batch in flight; records that arrive meanwhile fill the next one. Nothing waits when none is
    in flight. The caller limits how much waits in total.
    """

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._lanes: dict[int, _Lane] = {}

    async def send(self, records: Sequence[tuple[bytes, bytes]], headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Send each (value, key), all with the same headers.

        Returns once the broker has acknowledged all.

        Raises:
            KafkaError: some were not acknowledged; it is unknown which.
        """
        partitions = await self._producer.partitions(self._topic)
        outcomes: set[Outcome] = set()
        given = list(headers)
        for value, key in records:
            partition = partitions[_hash(key) % len(partitions)]
            lane = self._lanes.get(partition)
            if lane is None:
                lane = self._lanes[partition] = _Lane(self._producer, self._topic, partition)
            outcomes.add(lane.add(value, key, given))
        if outcomes:
            await asyncio.wait(outcomes)
        for outcome in outcomes:
            if error := outcome.result():
                raise error


def _hash(key: bytes) -> int:
    """Return the hash of a key by which Kafka's own client chooses a partition.

    aiokafka's is pure Python and would double a record's cost.
    """
    return int(murmurhash2(key, _SEED)) & 0x7FFFFFFF


class _Lane:
    """The batches of one partition, in order; the last is still open."""

    def __init__(self, producer: Producer, topic: str, partition: int) -> None:
        self._producer = producer
        self._place = topic, partition
        self._waiting: deque[tuple[BatchBuilder, Outcome]] = deque()
        self._sending: asyncio.Task[None] | None = None

    def add(self, value: bytes, key: bytes, headers: list[tuple[str, bytes]]) -> Outcome:
        """Put a record into the last batch, or into a new one."""
        record = {"timestamp": None, "key": key, "value": value, "headers": headers}
        if not self._waiting or self._waiting[-1][0].append(**record) is None:
            builder = self._producer.new_batch()
            builder.append(**record)
            self._waiting.append((builder, asyncio.get_running_loop().create_future()))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())
        return self._waiting[-1][1]

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                builder, outcome = self._waiting.popleft()
                error = await self._send(builder)
                outcome.set_result(error)
                while error and self._waiting:  # they would fail in the same way, one after the other
                    self._waiting.popleft()[1].set_result(error)
        finally:
            self._sending = None

    async def _send(self, builder: BatchBuilder) -> Exception | None:
        try:
            await (await self._producer.send_batch(*self._place, builder))
        except Exception as error:
            return error
        return None
