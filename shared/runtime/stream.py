"""FastStream's Kafka broker as we use it: for consumers only, which wait for records instead of looking for them."""

import logging as standard_logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faststream.kafka import KafkaBroker

from shared.runtime.forgiving import forgive_header_names
from shared.runtime.kafka import broker_security
from shared.runtime.settings import ServiceSettings

PATIENCE_MS = 1000


class PatientConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Waits for records instead of looking for them: FastStream's own pause would be latency, and work while idle."""

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """As soon as there are records; none after a second."""
        patience_ms = max(timeout_ms, PATIENCE_MS)
        found: dict[TopicPartition, list[ConsumerRecord]]
        try:
            found = await super().getmany(*partitions, timeout_ms=patience_ms, max_records=max_records)
        except (KafkaError, ConsumerStoppedError):
            raise
        except Exception as error:  # FastStream would begin again at once, for ever; after a KafkaError it waits
            raise KafkaError(f"what was fetched cannot be read: {error!r}") from error
        return found


async def connect(broker: KafkaBroker) -> None:
    """Make it ready; consumers are started by themselves.

    Not by the broker: it starts them one after the other, in no certain order, and each waits for its partitions. One
    of usage that waits for the projection would keep the projection's own consumer from being started.
    """
    await broker.connect()
    config = broker.config.broker_config
    config.builder = partial(PatientConsumer, **config.builder.keywords)  # type: ignore[attr-defined]


def new_broker(settings: ServiceSettings, client: str, middlewares: Sequence[Any] = ()) -> KafkaBroker:
    """FastStream's broker for consumers only: we publish with a producer of our own, by the outbox."""
    forgive_header_names()
    log = standard_logging.getLogger("faststream")
    log.addFilter(_worth_saying)
    return KafkaBroker(
        settings.kafka_bootstrap_servers.split(","),
        client_id=client,
        security=broker_security(settings),
        consumer_only=True,
        apply_types=False,
        middlewares=middlewares,
        graceful_timeout=settings.stop_within_seconds - 2,
        logger=log,
        log_level=standard_logging.DEBUG,
    )


def _worth_saying(line: standard_logging.LogRecord) -> bool:
    """FastStream warns that a broker for consumers creates no topics. It is not meant to."""
    return "Topic creation is skipped" not in line.getMessage()
