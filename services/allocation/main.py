"""Allocation's composition root.

It builds every part and passes each its dependencies.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.allocation.handlers.backfill import backfill
from services.allocation.handlers.commands import command_handlers
from services.allocation.handlers.consumption import expire_consumption
from services.allocation.handlers.due_work import DueWork
from services.allocation.handlers.erasures import BATCH, erase_due
from services.allocation.settings import AllocationSettings
from services.allocation.subscribers import on_consumption
from shared.events.allocation import ALLOCATION_EVENTS, PEOPLE_EVENTS
from shared.events.envelope import event_of
from shared.events.outcomes import AllocationCommandDecided, DecisionRecorded
from shared.events.topics import ALLOCATION_COMMANDS_TOPIC, ALLOCATION_EVENTS_TOPIC, CONSUMPTION_TOPIC
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.set_aside_work_retries import SetAsideWorkRetries
from shared.runtime.process.background import repeat
from shared.runtime.service.command_line import ReadModel, Runtime, ServiceDefinition, run

NAME: Final = "allocation"
SESSION: Final = {"enable_seqscan": "off"}
"""Settings of each database session: sequential scans are avoided.

Every frequent statement has an index. PostgreSQL plans them while the tables are still empty, where a sequential scan
is cheapest, and keeps those plans while the tables grow.
"""


def build(runtime: Runtime[AllocationSettings]) -> None:
    """Register the consumers, commands and tasks of one process."""
    settings = runtime.settings
    for event in (*ALLOCATION_EVENTS, *PEOPLE_EVENTS, DecisionRecorded):
        event_of(event)  # builds its model now, and not while the first command waits
    runtime.consume_commands(
        ALLOCATION_COMMANDS_TOPIC,
        command_handlers(
            settings.terms,
            wait_seconds=settings.consumption_wait_seconds,
            erase_after=timedelta(days=settings.erase_after_days),
        ),
        decided=AllocationCommandDecided,
        events_topic=ALLOCATION_EVENTS_TOPIC,
        consumers=settings.command_consumers,
    )
    runtime.consume_batch(CONSUMPTION_TOPIC, on_consumption, max_records=settings.consumption_batch_records)

    async def backfill_all() -> None:
        left = 1
        while left:
            async with runtime.transaction() as tx:
                left = await backfill(tx)

    runtime.on_start(backfill_all)

    async def upkeep() -> float:
        await backfill_all()
        await runtime.can_decide()
        async with runtime.pool.acquire() as connection:
            await expire_consumption(connection, runtime.clock())
        return settings.upkeep_seconds

    runtime.background("upkeep", lambda: repeat(upkeep, first_after_seconds=settings.upkeep_seconds))
    erasures = SetAside("erasures")

    async def erase() -> float:
        async with runtime.deciding() as tx:
            done = await erase_due(tx, erasures)
        return 0 if done == BATCH else settings.erasure_poll_seconds

    shown = SetAsideWorkRetries(
        runtime.transaction, {}, (erasures,), delay_max_seconds=settings.retry_delay_max_seconds
    )
    runtime.background("erasures", lambda: repeat(erase))
    runtime.background("set aside", shown.run)
    runtime.health.add("set aside", shown.check)
    runtime.background("due work", DueWork(runtime.deciding, poll_seconds=settings.due_poll_seconds).run)


def definition() -> ServiceDefinition[AllocationSettings]:
    """Return the definition of the service."""
    return ServiceDefinition(
        name=NAME,
        settings_type=AllocationSettings,
        build=build,
        migrations=Path(__file__).with_name("migrations"),
        read_model=ReadModel(tables=("consumption",), topics=(CONSUMPTION_TOPIC,)),
        session=SESSION,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of ``python -m services.allocation``."""
    return run(definition(), argv)
