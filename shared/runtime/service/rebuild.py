"""Rebuild: a read model is emptied and filled again from its topics."""

import asyncio
from collections.abc import AsyncIterator

from shared.runtime.delivery import offsets, read_model_state, set_aside
from shared.runtime.delivery.topic_end import load_applied, load_ends
from shared.runtime.postgres import migrations
from shared.runtime.postgres.pool import Connection, open_pool
from shared.runtime.process.settings import S, SettingsError
from shared.runtime.service.definition import ReadModel, Runtime
from shared.runtime.service.lifecycle import Lifecycle

POLL_SECONDS = 0.5


async def rebuild(runtime: Runtime[S]) -> AsyncIterator[tuple[int, int]]:
    """Empty the read model and apply its topics again up to their present end.

    Yields, twice a second, how many records are applied and how many there are.

    May run beside the service, whose processes share the work and neither answer nor decide meanwhile.

    Raises:
        SettingsError: the service has no read model.
        MigrationError: this program cannot run on this database; nothing was changed.
        KafkaError: Kafka does not answer; nothing was changed.
    """
    model = runtime.definition.read_model
    if model is None:
        raise SettingsError(f"{runtime.name} has no read model to rebuild: its tables are the only record of its state")
    lifecycle = Lifecycle(runtime)
    await open_pool(runtime.pool, runtime.settings)
    async with runtime.pool.acquire() as connection:
        await migrations.require_fit(connection, runtime.migrations)
    ends = await load_ends(runtime.settings, f"{runtime.name}-rebuild", [topic.name for topic in model.topics])
    async with runtime.pool.acquire() as connection:
        await read_model_state.announce(connection, ends)
        await asyncio.sleep(read_model_state.NOTICE_SECONDS)
        await _empty(connection, model)
    await lifecycle.start(with_tasks=False)
    try:
        total = sum(ends.values())
        while True:
            done = sum((await load_applied(runtime.pool, runtime.name, ends)).values())
            yield done, total
            if done >= total:
                return
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await lifecycle.stop()


async def _empty(connection: Connection, model: ReadModel) -> None:
    """Empty tables and reset offsets in one transaction.

    So no record is applied in between.
    """
    async with connection.transaction():
        await read_model_state.record_emptied(connection)
        await offsets.set_back(connection, [topic.name for topic in model.topics])
        for table in model.tables:
            await connection.execute(f'TRUNCATE TABLE "{table}" CASCADE')
        for topic in model.topics:
            await set_aside.delete_topic(connection, topic.name)  # it will be read again
