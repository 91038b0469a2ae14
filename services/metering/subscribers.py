"""Kafka consumers of usage: the topic of all products, and products' own topics."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from aiokafka.admin import AIOKafkaAdminClient

from services.metering import metrics
from services.metering.domain.trace_headers import CORRELATION_ID
from services.metering.handlers.apply_usage import BatchOutcome, UsageApplier
from services.metering.handlers.book_losses import book_lost
from services.metering.settings import MeteringSettings
from shared.events.topics import product_of, product_usage
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.kafka.client import client_arguments
from shared.runtime.process import logging
from shared.runtime.process.background import repeat
from shared.runtime.records import Record
from shared.runtime.service.command_line import Runtime

SHOWN_IDS = 10
_log = logging.get("metering")


class UsageSubscriber:
    """The subscriber of usage.

    It applies each batch in the transaction that the runtime opened, and counts it after the commit.
    """

    def __init__(self, applier: UsageApplier) -> None:
        self.applier = applier

    async def on_usage(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Apply one batch of usage."""
        started = time.perf_counter()
        applied = await self.applier.apply(tx, records)
        tx.after_commit(lambda: _count(applied, time.perf_counter() - started))
        if applied.rejected:
            tx.after_commit(lambda: _log_quarantined(records, applied))


class ProductTopics:
    """Find products' own topics, at the start and while running, and consume each."""

    def __init__(self, runtime: Runtime[MeteringSettings], new_subscriber: Callable[[], UsageSubscriber]) -> None:
        self._runtime = runtime
        self._new_subscriber = new_subscriber
        self._read: set[str] = set()

    async def run(self) -> None:
        """Poll Kafka for new topics until cancelled."""
        runtime = self._runtime

        async def subscribe() -> float:
            await self._subscribe_new(await admin.list_topics())
            return runtime.settings.product_topics_seconds

        admin = AIOKafkaAdminClient(**client_arguments(runtime.settings, f"{runtime.name}-product-topics"))
        await admin.start()
        try:
            await repeat(subscribe)
        finally:
            await admin.close()

    async def _subscribe_new(self, names: Sequence[str]) -> None:
        prefix = self._runtime.settings.kafka_topic_prefix
        for name in sorted(names):
            product = product_of(name.removeprefix(prefix)) if name.startswith(prefix) else None
            if product is None or product in self._read:
                continue
            topic = product_usage(product)
            settings = self._runtime.settings
            await self._runtime.consume_found_topic(
                topic,
                self._new_subscriber().on_usage,
                max_records=settings.usage_batch_records,
                fill_wait_ms=settings.usage_fill_wait_ms,
                on_lost=book_lost,
                retry_handler=self._new_subscriber().on_usage,
            )
            self._read.add(product)
            self._runtime.log.info("product_topic_found", topic=topic.name)


def _log_quarantined(records: Sequence[Record], applied: BatchOutcome) -> None:
    """Log the rejected records of a batch in one line.

    It has the number of records by reason, and the correlation ids of some requests.
    """
    origins = (records[n].header(CORRELATION_ID) for n in applied.rejected)
    ids = list(dict.fromkeys(origin.decode("utf-8", "replace") for origin in origins if origin))
    _log.info(
        "usage_quarantined",
        topic=records[0].topic,
        records=len(applied.rejected),
        reasons=dict(Counter(error.reason for error in applied.rejected.values())),
        correlation_ids=ids[:SHOWN_IDS],
    )


def _count(applied: BatchOutcome, seconds: float) -> None:
    metrics.USAGE_BATCH_SECONDS.observe(seconds)
    metrics.USAGE_BATCH_RECORDS.observe(len(applied.outcomes))
    for outcome, number in Counter(applied.outcomes).items():
        metrics.USAGE_EVENTS.labels(outcome=outcome).inc(number)
    for reason, number in Counter(error.reason for error in applied.rejected.values()).items():
        metrics.USAGE_QUARANTINED.labels(reason=reason).inc(number)
