"""The composition root of alerts.

It builds the parts of a process and passes each its dependencies.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.alerts import metrics
from services.alerts.allocation_catch_up import AllocationCatchUp
from services.alerts.domain.rules import DEFAULT_RULES
from services.alerts.domain.schedule import Backoff
from services.alerts.handlers.assess_changes import apply_time
from services.alerts.handlers.commands import Commands, isolated
from services.alerts.handlers.delivery_worker import DeliveryWorker, WorkerOptions
from services.alerts.handlers.seal_addresses import seal_addresses
from services.alerts.settings import AlertsSettings
from services.alerts.store.watches import find_next_check
from services.alerts.subscribers import AllocationSubscriber, ConsumptionSubscriber
from services.alerts.webhooks.sender import WebhookSender
from shared.events.commands.alerts import AcknowledgeAlert, AddChannel, RemoveChannel
from shared.events.outcomes import AlertsCommandDecided
from shared.events.topics import (
    ALERTS_COMMANDS_TOPIC,
    ALERTS_EVENTS_TOPIC,
    ALLOCATION_EVENTS_TOPIC,
    CONSUMPTION_TOPIC,
)
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.set_aside_work_retries import SetAsideWorkRetries
from shared.runtime.postgres.pool import connect
from shared.runtime.process.background import repeat
from shared.runtime.service.command_line import ReadModel, Runtime, ServiceDefinition, run

NAME: Final = "alerts"
TIME_BATCH = 100
SEAL_BATCH = 200
TIME_POLL_SECONDS = 15.0


def build(runtime: Runtime[AlertsSettings]) -> None:
    """Register the consumers, commands and tasks of one process."""
    settings = runtime.settings
    metrics.initialise((rule.name, one.severity) for rule in DEFAULT_RULES.values() for one in rule.thresholds)
    catch_up = AllocationCatchUp(runtime)
    commands = Commands(settings.signing_keys, allow_private=settings.allow_private_webhooks)

    async def seal_old_addresses() -> None:
        done = SEAL_BATCH
        while done == SEAL_BATCH:
            async with runtime.transaction() as tx:
                done = await seal_addresses(tx, settings.signing_keys, SEAL_BATCH)

    runtime.on_start(seal_old_addresses)
    runtime.on_start(catch_up.load_ends)
    runtime.health.add("head start", catch_up.check)
    states = SetAside(ALLOCATION_EVENTS_TOPIC.name, keys_max=settings.dead_letter_limit)
    snapshots = SetAside(CONSUMPTION_TOPIC.name, keys_max=settings.dead_letter_limit)
    on_states = AllocationSubscriber(states)
    on_snapshots = ConsumptionSubscriber(catch_up.is_over, snapshots)
    runtime.consume_batch(ALLOCATION_EVENTS_TOPIC, on_states.on_allocation, max_records=settings.max_records)
    runtime.consume_batch(
        CONSUMPTION_TOPIC, on_snapshots.on_consumption, max_records=settings.consumption_batch_records
    )
    runtime.consume_commands(
        ALERTS_COMMANDS_TOPIC,
        {
            AcknowledgeAlert: isolated(commands.acknowledge_alert),
            AddChannel: isolated(commands.add_channel),
            RemoveChannel: isolated(commands.remove_channel),
        },
        decided=AlertsCommandDecided,
        events_topic=ALERTS_EVENTS_TOPIC,
    )
    tasks = SetAside("time"), SetAside("deliveries")
    retries = SetAsideWorkRetries(
        runtime.transaction,
        {states: on_states.retry, snapshots: on_snapshots.retry},
        tasks,
        delay_max_seconds=settings.retry_delay_max_seconds,
    )
    runtime.background("set aside", retries.run)
    runtime.health.add("set aside", retries.check)
    _add_background(runtime, *tasks)


def _add_background(runtime: Runtime[AlertsSettings], time: SetAside, deliveries: SetAside) -> None:
    settings = runtime.settings
    options = WorkerOptions(
        concurrency=settings.webhook_concurrency,
        concurrency_per_channel=settings.webhook_concurrency_per_channel,
        lease_for=timedelta(seconds=settings.delivery_lease_seconds),
        backoff=Backoff(first=timedelta(seconds=settings.retry_first_seconds)),
    )

    async def deliver() -> None:
        sender = WebhookSender(
            timeout_seconds=settings.webhook_timeout_seconds, allow_private=settings.allow_private_webhooks
        )
        await DeliveryWorker(
            runtime.transaction,
            lambda: connect(settings, f"{NAME}-deliveries"),
            sender,
            keys=settings.signing_keys,
            clock=runtime.clock,
            options=options,
            aside=deliveries,
            time_is_certain=runtime.database_clock.wait,
        ).run()

    async def assess_due() -> float:
        async with runtime.deciding() as tx:
            done = await apply_time(tx, TIME_BATCH, time)
            next_at = await find_next_check(tx.connection)
        if done >= TIME_BATCH:
            return 0
        seconds = TIME_POLL_SECONDS if next_at is None else (next_at - runtime.clock()).total_seconds()
        return max(0.5, min(seconds, TIME_POLL_SECONDS))

    runtime.background("deliveries", deliver)
    runtime.background("time", lambda: repeat(assess_due))


def definition() -> ServiceDefinition[AlertsSettings]:
    """Return the definition of the service.

    ``rebuild`` reads its topics again; newer stored states are kept.
    """
    return ServiceDefinition(
        name=NAME,
        settings_type=AlertsSettings,
        build=build,
        migrations=Path(__file__).with_name("migrations"),
        read_model=ReadModel(tables=("products",), topics=(ALLOCATION_EVENTS_TOPIC, CONSUMPTION_TOPIC)),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of ``python -m services.alerts``."""
    return run(definition(), argv)
