"""Kafka: how to connect, and the one producer that everything is published with."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from shared.runtime import logging
from shared.runtime.outbox import Outgoing
from shared.runtime.settings import ServiceSettings

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""More than any record that a topic takes, so that the broker's limit is the one that counts."""
BATCH_BYTES = 128 * 1024
STOP_SECONDS = 3
TAKES_SECONDS = 1.0

_CODECS = {
    "none": DefaultRecordBatch.CODEC_NONE,
    "gzip": DefaultRecordBatch.CODEC_GZIP,
    "snappy": DefaultRecordBatch.CODEC_SNAPPY,
    "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}

_SASL: dict[str, type[SASLPlaintext | SASLScram256 | SASLScram512]] = {
    "PLAIN": SASLPlaintext,
    "SCRAM-SHA-256": SASLScram256,
    "SCRAM-SHA-512": SASLScram512,
}


def client_arguments(settings: ServiceSettings, client: str) -> dict[str, Any]:
    """What every aiokafka client is given."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "client_id": client,
        "security_protocol": settings.kafka_protocol,
        "ssl_context": _ssl_context(settings),
    }
    if settings.kafka_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        arguments["sasl_plain_username"] = settings.kafka_username
        arguments["sasl_plain_password"] = _password(settings)
    return arguments


def broker_security(settings: ServiceSettings) -> BaseSecurity | None:
    """The same for FastStream."""
    context = _ssl_context(settings)
    if settings.kafka_protocol.startswith("SASL"):
        scheme = _SASL[settings.kafka_sasl_mechanism]
        return scheme(settings.kafka_username or "", _password(settings), ssl_context=context, use_ssl=bool(context))
    return BaseSecurity(ssl_context=context, use_ssl=True) if context else None


async def trouble_of(error: BaseException, settings: ServiceSettings) -> str:
    """Why Kafka cannot be used, as a sentence: it is away, or it is there and does not let us in."""
    servers = settings.kafka_bootstrap_servers
    host, _, port = servers.split(",")[0].strip().rpartition(":")
    try:
        async with asyncio.timeout(TAKES_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
    except (OSError, ValueError):
        return f"waiting for Kafka at {servers}: {error!r}"
    return (
        f"waiting for Kafka at {servers}, which takes connections but does not answer: it is starting, or protocol, "
        f"user or password (UNITPOOL_KAFKA_PROTOCOL and following) are wrong: {error!r}"
    )


async def partitions_of(settings: ServiceSettings, client: str, topics: Sequence[str]) -> list[TopicPartition]:
    """Every partition of these topics (without the installation's prefix) that exist."""
    admin = AIOKafkaAdminClient(**client_arguments(settings, client))
    await admin.start()
    try:
        described = await admin.describe_topics([f"{settings.kafka_topic_prefix}{topic}" for topic in topics])
    finally:
        await admin.close()
    return [TopicPartition(topic["topic"], one["partition"]) for topic in described for one in topic["partitions"]]


def _ssl_context(settings: ServiceSettings) -> ssl.SSLContext | None:
    if not settings.kafka_protocol.endswith("SSL"):
        return None
    return ssl.create_default_context(cafile=settings.kafka_ca_file)


def _password(settings: ServiceSettings) -> str:
    return settings.kafka_password.get_secret_value() if settings.kafka_password else ""


class Producer:
    """An idempotent producer (``acks=all``), replaced by a new one when an error has broken its sequence.

    ``send`` may be called from several tasks. Topics are named without the installation's prefix.
    """

    def __init__(self, settings: ServiceSettings, client: str) -> None:
        self._arguments = client_arguments(settings, client)
        self._prefix = settings.kafka_topic_prefix
        self._compression = settings.kafka_compression
        self._producer: AIOKafkaProducer | None = None
        self._broken = False
        self._changing = asyncio.Lock()
        self._log = logging.get(client)

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: Kafka does not answer.
        """
        await self._working()

    async def stop(self) -> None:
        """Send what is buffered, within a few seconds, and disconnect."""
        async with self._changing:
            await self._discard()

    async def send(
        self, topic: str, value: bytes | None, key: bytes | None = None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> "asyncio.Future[Any]":
        """Buffer one record; the future is done when the broker has acknowledged it, or failed with a KafkaError.

        Raises:
            KafkaError: it could not even be buffered.
        """
        producer = await self._working()
        if value is None and key is None:  # others may send such records, aiokafka does not
            key = b""
        try:
            future: asyncio.Future[Any] = await producer.send(
                f"{self._prefix}{topic}", value, key, headers=list(headers)
            )
        except MessageSizeTooLargeError:  # refused before it was given a place in the sequence
            raise
        except KafkaError:
            self._broken = True
            raise
        future.add_done_callback(self._note)
        return future

    async def send_all(self, records: Sequence[Outgoing]) -> list[BaseException | None]:
        """Send records in order and wait; for each the error, or ``None`` when the broker has acknowledged it."""
        futures: list[asyncio.Future[Any]] = []
        refused: BaseException | None = None
        for record in records:
            try:
                futures.append(await self.send(record.topic, record.value, record.key, record.headers))
            except Exception as error:
                refused = error
                break
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        sent = [outcome if isinstance(outcome, BaseException) else None for outcome in outcomes]
        return sent + [refused] * (len(records) - len(sent))

    async def partitions(self, topic: str) -> list[int]:
        """The partitions of a topic, in order.

        Raises:
            KafkaError: Kafka does not answer, or knows no such topic.
        """
        producer = await self._working()
        return sorted(await producer.partitions_for(f"{self._prefix}{topic}"))

    def new_batch(self) -> BatchBuilder:
        """An empty batch for ``send_batch``."""
        return BatchBuilder(BATCH_BYTES, _CODECS[self._compression])

    async def send_batch(self, topic: str, partition: int, batch: BatchBuilder) -> "asyncio.Future[Any]":
        """Like ``send``, of a batch that the caller has filled."""
        producer = await self._working()
        batch.close()
        try:
            future: asyncio.Future[Any] = await producer.send_batch(
                batch, f"{self._prefix}{topic}", partition=partition
            )
        except KafkaError:
            self._broken = True
            raise
        future.add_done_callback(self._note)
        return future

    def _note(self, future: "asyncio.Future[Any]") -> None:
        if future.cancelled() or future.exception() is not None:
            self._broken = True

    async def _working(self) -> AIOKafkaProducer:
        if self._producer is not None and not self._broken:
            return self._producer
        async with self._changing:
            if self._producer is None or self._broken:
                await self._discard()
                producer = AIOKafkaProducer(
                    **self._arguments,
                    enable_idempotence=True,
                    acks="all",
                    max_request_size=MAX_REQUEST_BYTES,
                    max_batch_size=BATCH_BYTES,
                    compression_type=None if self._compression == "none" else self._compression,
                    request_timeout_ms=20_000,
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer, self._broken = producer, False
            return self._producer

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await producer.stop()
        except (TimeoutError, KafkaError) as error:
            self._log.warning("producer_stopped_hard", error=repr(error))
