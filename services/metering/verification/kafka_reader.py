"""The reads of Kafka that ``check`` makes.

They are of published snapshots, and of single events by partition and offset.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.metering.domain.decode import claim_of
from services.metering.domain.placement import digest_of
from services.metering.settings import MeteringSettings
from shared.events.envelope import UndecodableError, by_type, decode
from shared.events.metering import ConsumptionSnapshot
from shared.events.snapshots import Snapshot, read_snapshot
from shared.events.topics import CONSUMPTION_TOPIC, USAGE, product_of
from shared.runtime.kafka.client import client_arguments, partitions_of

WITHIN_SECONDS = 15.0
AT_ONCE = 5_000
IDS_MAX = 1_000
"""Most identities looked up, since each takes a fetch."""
CLIENT = "metering-check"
_SNAPSHOT = by_type([ConsumptionSnapshot])


class Published(NamedTuple):
    """Key and revision of a published snapshot."""

    subscription: str
    product: str
    window_start: datetime
    revision: int


def read_published(value: bytes) -> Published | None:
    """Decode a snapshot's identity, as its readers do.

    ``None`` is returned if the record is no snapshot.
    """
    one: Snapshot | ConsumptionSnapshot | None = read_snapshot(value)
    if one is None:
        try:
            event = decode(value, _SNAPSHOT)
        except UndecodableError:
            return None
        if event is None:
            return None
        one = event.data
    return Published(one.subscription, one.product, one.window_start, one.revision)


class KafkaReader:
    """Reads with a consumer without a group, so no stored position changes."""

    def __init__(self, consumer: AIOKafkaConsumer, prefix: str, ends: dict[TopicPartition, int]) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self._ends = ends
        self._looked_up = 0

    async def published(self) -> AsyncIterator[list[Published]]:
        """Yield the snapshots that the topic had when this was opened, in portions.

        Raises:
            KafkaError, TimeoutError: Kafka does not answer.
        """
        begins = await self._consumer.beginning_offsets(list(self._ends))
        left = {tp for tp, end in self._ends.items() if begins[tp] < end}
        self._consumer.assign(sorted(left))
        for tp in left:
            self._consumer.seek(tp, begins[tp])
        while left:
            async with asyncio.timeout(WITHIN_SECONDS):
                taken = await self._consumer.getmany(timeout_ms=1000, max_records=AT_ONCE)
                left = {tp for tp in left if await self._consumer.position(tp) < self._ends[tp]}
            yield [
                one
                for tp, records in taken.items()
                for record in records
                if record.value and record.offset < self._ends[tp]  # what came later is newer than the database's side
                for one in [read_published(record.value)]
                if one is not None
            ]

    async def find_id(self, source: str, digest: UUID, places: Sequence[tuple[int, int]]) -> str | None:
        """Find the event id of an identity at these (partition, offset) of usage topics."""
        self._looked_up += 1
        if self._looked_up > IDS_MAX:
            return None
        names = (name.removeprefix(self._prefix) for name in await self._consumer.topics())
        topics = [name for name in names if name == USAGE.name or product_of(name)]
        for partition, offset in places:
            for topic in sorted(topics, key=len):
                value = await self._fetch(TopicPartition(f"{self._prefix}{topic}", partition), offset)
                found = claim_of(value).event_id
                if found and digest_of(source, found) == digest.bytes:
                    return found
        return None

    async def _fetch(self, tp: TopicPartition, offset: int) -> bytes | None:
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                self._consumer.assign([tp])
                (begin,) = (await self._consumer.beginning_offsets([tp])).values()
                (end,) = (await self._consumer.end_offsets([tp])).values()
                if not begin <= offset < end:
                    return None
                self._consumer.seek(tp, offset)
                record = await self._consumer.getone(tp)
        except (KafkaError, TimeoutError):
            return None
        value: bytes | None = record.value
        return value if record.offset == offset else None


@asynccontextmanager
async def open_reader(settings: MeteringSettings) -> AsyncIterator[KafkaReader]:
    """Open a reader, which remembers the present end of the topic of snapshots.

    Raises:
        KafkaError, TimeoutError: Kafka does not answer.
    """
    consumer = AIOKafkaConsumer(**client_arguments(settings, CLIENT), enable_auto_commit=False)
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            await consumer.start()
            partitions = await partitions_of(settings, CLIENT, [CONSUMPTION_TOPIC.name])
            ends = await consumer.end_offsets(partitions) if partitions else {}
        yield KafkaReader(consumer, settings.kafka_topic_prefix, ends)
    finally:
        await consumer.stop()
