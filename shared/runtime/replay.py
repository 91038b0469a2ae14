"""Dead letters back to where they came from, once what made them so is mended."""

from collections.abc import AsyncIterator, Iterable, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from shared.events.topics import TOPICS, ServiceName
from shared.runtime import kafka
from shared.runtime.batches import DEAD_LETTER_PREFIX
from shared.runtime.kafka import Producer
from shared.runtime.outbox import Outgoing
from shared.runtime.settings import ServiceSettings

BATCH = 500


def dead_letter_topics(service: ServiceName) -> list[str]:
    """Where this service puts what it cannot process, without the installation's prefix."""
    return [topic.dead_letters(service).name for topic in TOPICS if service in topic.readers]


async def replay(
    settings: ServiceSettings, service: ServiceName, topics: Iterable[str] | None = None
) -> AsyncIterator[tuple[str, int, int]]:
    """Put the dead letters that are there now back on their topics, byte for byte; those replayed before stay.

    Progress is committed to Kafka after the broker has acknowledged each batch, so a replay that is cut short goes on,
    and may repeat its last batch: what reads the topics applies a record once. Yields the topic, how many were put
    back, and how many there are.
    """
    producer = Producer(settings, f"{service}-replay")
    await producer.start()
    try:
        for topic in dead_letter_topics(service) if topics is None else topics:
            async for done, total in _replay_topic(settings, service, topic, producer):
                yield topic, done, total
    finally:
        await producer.stop()


async def _replay_topic(
    settings: ServiceSettings, service: ServiceName, topic: str, producer: Producer
) -> AsyncIterator[tuple[int, int]]:
    partitions = await kafka.partitions_of(settings, f"{service}-replay", [topic])
    if not partitions:
        return
    consumer = AIOKafkaConsumer(
        **kafka.client_arguments(settings, f"{service}-replay"),
        group_id=f"{settings.kafka_topic_prefix}{service}.replay",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        begins = await consumer.beginning_offsets(partitions)
        nexts = {tp: max(await consumer.committed(tp) or 0, begins[tp]) for tp in partitions}
        total, done = sum(max(0, ends[tp] - nexts[tp]) for tp in partitions), 0
        yield done, total
        while any(nexts[tp] < ends[tp] for tp in partitions):
            polled = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            records = [record for tp, some in polled.items() for record in some if record.offset < ends[tp]]
            await _put_back(producer, records, topic.removesuffix(f".{service}.dlq"))
            for tp in partitions:
                nexts[tp] = max(nexts[tp], min(ends[tp], await consumer.position(tp)))
            await consumer.commit(nexts)
            done += len(records)
            yield done, total
    finally:
        await consumer.stop()


async def _put_back(producer: Producer, records: Sequence[ConsumerRecord], original_topic: str) -> None:
    failures = await producer.send_all([_original(record, original_topic) for record in records])
    for failure in failures:
        if failure:
            raise failure


def _original(record: ConsumerRecord, original_topic: str) -> Outgoing:
    """What was received, where it was received: dead letters of one topic's own (``usage.events.x``) name it."""
    named = dict(record.headers).get(f"{DEAD_LETTER_PREFIX}topic")
    kept = tuple((name, value or b"") for name, value in record.headers if not name.startswith(DEAD_LETTER_PREFIX))
    return Outgoing(named.decode() if named else original_topic, record.key, record.value, kept)
