"""FastStream's subscriber of one topic, with its options for Kafka and FastStream."""

from typing import Any

from aiokafka import ConsumerRebalanceListener
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka import Topic as StreamTopic
from faststream.kafka.message import KafkaAckableMessage

from shared.events.topics import Topic
from shared.runtime.process.settings import ServiceSettings

REBALANCE_SECONDS = 60
"""Longest wait of a rebalance for its members. A running batch must end within it."""
HEARTBEAT_SECONDS = 1.0
"""Longest interval of heartbeats.

A member learns of a rebalance by its next one, and the others wait until then.
"""
FILL_BYTES = 256 * 1024
"""Size at which Kafka answers a fetch that waits to be filled."""
FETCH_BYTES, FILLED_FETCH_BYTES = 1024 * 1024, 4 * 1024 * 1024
"""Largest fetch of one partition, without and with a fill wait.

With a fill wait it holds about two batches.
"""
MAX_POLL_SECONDS = 300
"""Time without a poll after which a member is put out of the group.

Our batches are bounded far below it.
"""


def subscribe(
    broker: KafkaBroker,
    topic: Topic,
    settings: ServiceSettings,
    *,
    reader: str,
    instance: str | None,
    max_records: int,
    fill_wait_ms: int,
    listener: ConsumerRebalanceListener,
    parser: Any,
) -> Any:
    """Make a batch subscriber; the caller gives it its handler.

    ``parser`` makes the message of a batch. ``fill_wait_ms``: longest wait of Kafka to fill a fetch; 0: Kafka answers
    as soon as there is a record, at the latest after the setting ``fetch_wait_ms``.
    """
    return broker.subscriber(
        StreamTopic(f"{settings.kafka_topic_prefix}{topic.name}", declare=False),
        batch=True,
        max_records=max_records,
        batch_timeout_ms=1,  # FastStream sleeps for it after an empty poll; see BatchConsumer
        group_id=f"{settings.kafka_topic_prefix}{reader}.{topic.name}",
        group_instance_id=instance,
        auto_offset_reset="none",  # the database says where, and what lies outside of the topic is a loss
        isolation_level="read_committed",
        fetch_max_wait_ms=fill_wait_ms or settings.fetch_wait_ms,
        fetch_min_bytes=FILL_BYTES if fill_wait_ms else 1,
        max_partition_fetch_bytes=FILLED_FETCH_BYTES if fill_wait_ms else FETCH_BYTES,
        session_timeout_ms=int(settings.session_timeout_seconds * 1000),
        heartbeat_interval_ms=int(min(HEARTBEAT_SECONDS, settings.session_timeout_seconds / 3) * 1000),
        rebalance_timeout_ms=REBALANCE_SECONDS * 1000,
        max_poll_interval_ms=MAX_POLL_SECONDS * 1000,
        ack_policy=AckPolicy.NACK_ON_ERROR,
        no_reply=True,
        listener=listener,
        parser=parser,
        decoder=_decode,
    )


async def _decode(message: KafkaAckableMessage) -> KafkaAckableMessage:
    """Return the message unchanged: the handler is given it and not its body."""
    return message
