"""The composition root of metering.

It builds the parts of a process and passes each its dependencies.
"""

from collections.abc import Sequence
from pathlib import Path

from services.metering import metrics
from services.metering.api.access import KeyRing
from services.metering.api.entitlements import entitlement_router
from services.metering.api.limits import KeyLimits
from services.metering.api.quarantine import quarantine_router
from services.metering.api.resources import resources_router
from services.metering.api.usage import Publisher, usage_router
from services.metering.background import add_background, replay_all
from services.metering.domain.catalogue import Catalogue
from services.metering.handlers import project
from services.metering.handlers.apply_usage import UsageApplier
from services.metering.handlers.book_losses import book_lost
from services.metering.handlers.ingest_keys import create_ingest_key, revoke_ingest_key, rotate_ingest_key
from services.metering.handlers.recompute import RECOMPUTE
from services.metering.handlers.replay_quarantine import replay_quarantine
from services.metering.probe import PROBE
from services.metering.settings import MeteringSettings
from services.metering.store.projection import Projection
from services.metering.subscribers import ProductTopics, UsageSubscriber
from services.metering.verification import COMMANDS
from shared.events.commands.metering import CreateIngestKey, ReplayQuarantine, RevokeIngestKey, RotateIngestKey
from shared.events.outcomes import MeteringCommandDecided
from shared.events.topics import ALLOCATION_EVENTS_TOPIC, METERING_COMMANDS_TOPIC, METERING_EVENTS_TOPIC, USAGE
from shared.runtime.delivery.topic_end import TopicEnd
from shared.runtime.http.fast_routes import include
from shared.runtime.kafka.bulk_producer import BulkProducer
from shared.runtime.postgres.pool import GENERIC_PLANS, Connection, HeldConnection
from shared.runtime.service.command_line import Runtime, ServiceDefinition, run


def build(runtime: Runtime[MeteringSettings]) -> None:
    """Register the consumers, commands, routes and tasks of one process."""
    settings, projection = runtime.settings, Projection()
    end = TopicEnd(settings, runtime.pool, reader=runtime.name, topic=ALLOCATION_EVENTS_TOPIC.name)
    metrics.initialise()

    async def catch_up(_: Connection) -> None:
        if not await end.wait_until_applied(settings.catch_up_seconds):
            runtime.log.warning("projection_lags", topic=ALLOCATION_EVENTS_TOPIC.name)

    def new_subscriber() -> UsageSubscriber:
        usage.append(UsageSubscriber(UsageApplier(projection, catch_up)))
        return usage[-1]

    usage: list[UsageSubscriber] = []
    runtime.consume(ALLOCATION_EVENTS_TOPIC, project.HANDLERS)
    runtime.consume_commands(
        METERING_COMMANDS_TOPIC,
        {
            CreateIngestKey: create_ingest_key,
            RevokeIngestKey: revoke_ingest_key,
            RotateIngestKey: rotate_ingest_key,
            ReplayQuarantine: replay_quarantine,
        },
        decided=MeteringCommandDecided,
        events_topic=METERING_EVENTS_TOPIC,
    )
    runtime.consume_batch(
        USAGE,
        *(new_subscriber().on_usage for _ in range(settings.usage_batches_at_once)),
        max_records=settings.usage_batch_records,
        fill_wait_ms=settings.usage_fill_wait_ms,
        on_lost=book_lost,
        retry_handler=new_subscriber().on_usage,
    )
    if settings.product_topics_seconds:
        runtime.background("product-topics", ProductTopics(runtime, new_subscriber).run)
    runtime.background("projection-tail", end.run)
    add_background(runtime, projection, usage)
    _add_routes(runtime, projection)


def _add_routes(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    settings = runtime.settings
    keys = KeyRing(runtime.pool, runtime.clock, settings.ingest_key_cache_seconds)
    limits = KeyLimits(
        events_per_second=settings.ingest_key_events_per_second,
        burst_seconds=settings.ingest_key_burst_seconds,
        max_body_bytes=settings.ingest_key_max_body_bytes,
    )
    publisher = Publisher(
        BulkProducer(runtime.producer, USAGE.name).send,
        budget_bytes=settings.ingest_in_flight_bytes,
        within_seconds=settings.ingest_acknowledge_seconds,
    )

    async def catalogue() -> Catalogue:
        async with runtime.pool.acquire() as connection:
            return await projection.refresh(connection)

    include(runtime.api, usage_router(keys, limits, publisher, catalogue))
    line = HeldConnection(settings, "metering-entitlements", GENERIC_PLANS)
    runtime.on_stop(line.close)
    include(runtime.api, entitlement_router(keys, line, projection, runtime.clock))
    runtime.api.include_router(quarantine_router(keys, runtime.pool))
    runtime.api.include_router(resources_router(keys, settings.signing_keys, runtime.pool, projection, runtime.clock))


def definition() -> ServiceDefinition[MeteringSettings]:
    """Return the definition of the service."""
    return ServiceDefinition(
        name="metering",
        settings_type=MeteringSettings,
        build=build,
        migrations=Path(__file__).with_name("migrations"),
        replay=replay_all,
        commands=(*COMMANDS, RECOMPUTE, PROBE),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of ``python -m services.metering``."""
    return run(definition(), argv)
