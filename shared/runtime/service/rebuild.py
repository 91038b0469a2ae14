"""A read model thrown away and filled again from its topics."""

import asyncio
from collections.abc import AsyncIterator

from shared.runtime.delivery import offsets, read_model_state, set_aside
from shared.runtime.delivery.topic_end import load_applied, load_ends
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
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await lifecycle.stop()


async def _empty(connection: Connection, model: ReadModel) -> None:
    """Tables and offsets in one transaction: no record can be applied in between."""
    async with connection.transaction():
        await read_model_state.record_emptied(connection)
        await offsets.set_back(connection, [topic.name for topic in model.topics])
        for table in model.tables:
            await connection.execute(f'TRUNCATE TABLE "{table}" CASCADE')
        for topic in model.topics:
            await set_aside.forget(connection, topic.name)  # it will be read again
