"""Metering's composition root: everything is built here, and given what it needs."""

import asyncio
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.metering.api.access import KeyRing
from services.metering.api.reading import reading_router
from services.metering.api.usage import Publisher, usage_router
from services.metering.domain.catalogue import Catalogue
from services.metering.handlers import project
from services.metering.handlers.apply_usage import UsageApplier
from services.metering.handlers.ingest_keys import create_ingest_key, revoke_ingest_key
from services.metering.handlers.publish_snapshots import SnapshotRelay
from services.metering.handlers.replay import replay_some
from services.metering.handlers.upkeep import keep_up
from services.metering.settings import MeteringSettings
from services.metering.store.projection import Projection
from services.metering.subscribers import ProjectionTail, UsageSubscriber
from shared.events.commands import CreateIngestKey, RevokeIngestKey
from shared.events.outcomes import MeteringCommandDecided
from shared.events.topics import ALLOCATION_EVENTS_TOPIC, METERING_COMMANDS_TOPIC, METERING_EVENTS_TOPIC, USAGE
from shared.runtime import offsets, postgres
from shared.runtime.app import Runtime, ServiceDefinition, run
from shared.runtime.kafka import Producer, client_arguments

NAME: Final = "metering"
GC_THRESHOLDS = (50_000, 20, 100)


def build(runtime: Runtime[MeteringSettings]) -> None:
    """Wire one process."""
    settings, projection = runtime.settings, Projection()
    tail = TopicTail(runtime)
    waiting = ProjectionTail(tail.ends, tail.stored, settings.catch_up_seconds)
    usage = [
        UsageSubscriber(UsageApplier(projection, waiting.catch_up), settings.usage_batch_records)
        for _ in range(settings.usage_consumers)
    ]
    for subscriber in usage:
        runtime.consume_batch(USAGE, subscriber.on_usage, max_records=settings.usage_batch_records)
    runtime.consume(ALLOCATION_EVENTS_TOPIC, project.HANDLERS)
    runtime.consume_commands(
        METERING_COMMANDS_TOPIC,
        {CreateIngestKey: create_ingest_key, RevokeIngestKey: revoke_ingest_key},
        decided=MeteringCommandDecided,
        events_topic=METERING_EVENTS_TOPIC,
    )
    _add_background(runtime, projection, usage, tail)
    _add_routes(runtime, projection)


def _add_background(
    runtime: Runtime[MeteringSettings], projection: Projection, usage: Sequence[UsageSubscriber], tail: "TopicTail"
) -> None:
    settings = runtime.settings
    snapshots = Producer(settings, f"{NAME}-snapshots")
    relay = SnapshotRelay(
        lambda: postgres.connect(settings, f"{NAME}-snapshots"),
        snapshots.send_all,
        runtime.clock,
        projection,
        interval_seconds=settings.snapshot_interval_seconds,
        usage_waits=lambda: any(subscriber.is_behind() for subscriber in usage),
    )
    replayer = UsageApplier(projection)

    async def publish() -> None:
        try:
            await relay.run()
        finally:
            await snapshots.stop()

    async def replay() -> None:
        while True:
            looked_at = 1
            while looked_at:
                async with runtime.transaction() as tx:
                    looked_at = await replay_some(tx, replayer, settings.replay_records)
            await asyncio.sleep(settings.replay_look_seconds)

    async def look_after() -> None:
        async with runtime.pool.acquire() as connection:
            await projection.refresh(connection)
            known = await keep_up(connection, projection.catalogue, runtime.clock())
        for subscriber in usage:
            subscriber.applier.known_partitions |= known

    async def upkeep() -> None:
        while True:
            await asyncio.sleep(settings.upkeep_seconds)
            await look_after()

    async def settle() -> None:
        await look_after()
        settle_memory()

    runtime.on_start(settle)
    runtime.background("snapshots", publish)
    runtime.background("replay", replay)
    runtime.background("upkeep", upkeep)
    runtime.background("projection-tail", tail.run)


def settle_memory() -> None:
    """Keep the garbage collector from walking the catalogue over and over: it is large, and stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _add_routes(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    settings = runtime.settings
    keys = KeyRing(runtime.pool, runtime.clock, settings.ingest_key_cache_seconds)
    publisher = Publisher(
        runtime.producer.send,
        budget_bytes=settings.ingest_in_flight_bytes,
        within_seconds=settings.ingest_acknowledge_seconds,
    )

    async def catalogue() -> Catalogue:
        async with runtime.pool.acquire() as connection:
            await projection.refresh(connection)
        return projection.catalogue

    runtime.api.include_router(usage_router(keys, publisher, catalogue))
    runtime.api.include_router(reading_router(keys, runtime.pool, projection, runtime.clock))


class TopicTail:
    """Where allocation.events ends, and up to where it is in the projection."""

    def __init__(self, runtime: Runtime[MeteringSettings]) -> None:
        self._runtime = runtime
        self._consumer: AIOKafkaConsumer | None = None

    async def run(self) -> None:
        """Stay connected until cancelled."""
        consumer = AIOKafkaConsumer(**client_arguments(self._runtime.settings, f"{NAME}-tail"))
        try:
            await consumer.start()
            self._consumer = consumer
            await asyncio.Event().wait()
        finally:
            self._consumer = None
            await consumer.stop()

    async def ends(self) -> dict[int, int]:
        """The end of each partition."""
        if self._consumer is None:
            return {}
        topic = f"{self._runtime.settings.kafka_topic_prefix}{ALLOCATION_EVENTS_TOPIC.name}"
        numbers = self._consumer.partitions_for_topic(topic) or await self._numbers(topic)
        ends = await self._consumer.end_offsets([TopicPartition(topic, number) for number in numbers])
        return {tp.partition: end for tp, end in ends.items()}

    async def _numbers(self, topic: str) -> set[int]:
        assert self._consumer is not None  # noqa: S101  # the caller has looked
        await self._consumer.topics()
        return self._consumer.partitions_for_topic(topic) or set()

    async def stored(self) -> dict[int, int]:
        """The next offset of each partition that the projection has not."""
        return await offsets.load(self._runtime.pool, NAME, ALLOCATION_EVENTS_TOPIC.name)


def definition() -> ServiceDefinition[MeteringSettings]:
    """The service."""
    return ServiceDefinition(
        name=NAME, settings_type=MeteringSettings, build=build, migrations=Path(__file__).with_name("migrations")
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of ``python -m services.metering``."""
    return run(definition(), argv)
