"""A read model thrown away and filled again from its topics."""

import asyncio
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer

from shared.runtime.delivery import offsets, set_aside, wholeness
from shared.runtime.kafka.client import client_arguments, partitions_of
from shared.runtime.postgres import migrations
from shared.runtime.postgres.pool import Connection, open_pool
from shared.runtime.process.settings import S, SettingsError
from shared.runtime.service.definition import ReadModel, Runtime
from shared.runtime.service.lifecycle import Lifecycle

LOOK_SECONDS = 0.5


async def rebuild(runtime: Runtime[S]) -> AsyncIterator[tuple[int, int]]:
    """Empty the read model and apply its topics again, as far as they reach now. Yields records applied, and how many.

    May run beside the service: its processes notice, answer and decide nothing from what is not whole, and share the
    work.

    Raises:
        SettingsError: the service has no read model.
    """
    model = runtime.definition.read_model
    if model is None:
        raise SettingsError(f"{runtime.name} has no read model to rebuild: its tables are the only record of its state")
    lifecycle = Lifecycle(runtime)
    await open_pool(runtime.pool, runtime.settings)
    async with runtime.pool.acquire() as connection:
        await migrations.require_fit(connection, runtime.migrations)
    ends = await _ends(runtime, model)
    async with runtime.pool.acquire() as connection:
        await wholeness.announce(connection, ends)
        await asyncio.sleep(wholeness.NOTICED_SECONDS)
        await _empty(connection, model)
    await lifecycle.start(with_tasks=False)
    try:
        total = sum(ends.values())
        while True:
            done = 0
            for (topic, partition), end in ends.items():
                stored = await offsets.load(runtime.pool, runtime.name, topic)
                done += min(end, stored.get(partition, 0))
            yield done, total
            if done >= total:
                return
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await lifecycle.stop()


async def _empty(connection: Connection, model: ReadModel) -> None:
    """Tables and offsets in one transaction: no record can be applied in between."""
    async with connection.transaction():
        await wholeness.note_emptied(connection)
        await offsets.set_back(connection, [topic.name for topic in model.topics])
        for table in model.tables:
            await connection.execute(f'TRUNCATE TABLE "{table}" CASCADE')
        for topic in model.topics:
            await set_aside.forget(connection, topic.name)  # it will be read again


async def _ends(runtime: Runtime[S], model: ReadModel) -> dict[tuple[str, int], int]:
    """The next offset of each partition that holds records, topics named without the prefix."""
    client, prefix = f"{runtime.name}-rebuild", runtime.settings.kafka_topic_prefix
    partitions = await partitions_of(runtime.settings, client, [topic.name for topic in model.topics])
    consumer = AIOKafkaConsumer(**client_arguments(runtime.settings, client), isolation_level="read_committed")
    await consumer.start()
    try:
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return {(tp.topic.removeprefix(prefix), tp.partition): ends[tp] for tp in partitions if ends[tp] > begins[tp]}
