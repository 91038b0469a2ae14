"""The Kafka producer of a process."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch

from shared.runtime.kafka.client import client_arguments
from shared.runtime.process import logging
from shared.runtime.process.settings import ServiceSettings
from shared.runtime.records import Outgoing

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""Larger than any topic's limit, so that the broker's limit applies."""
BATCH_BYTES = 128 * 1024
STOP_SECONDS = 3

_CODECS = {
    "none": DefaultRecordBatch.CODEC_NONE,
    "gzip": DefaultRecordBatch.CODEC_GZIP,
    "snappy": DefaultRecordBatch.CODEC_SNAPPY,
    "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}


class Producer:
    """An idempotent producer (``acks=all``).

    It is replaced when an error has broken its sequence.
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
        """Buffer one record, and return a future of its acknowledgement.

        The future is done when the broker has acknowledged the record, or failed with a KafkaError.

        Raises:
            KafkaError: it could not be buffered.
        """
        producer = await self._working()
        if value is None and key is None:  # a record without key and value, which aiokafka refuses to send
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
        """Send records in order, wait for them, and return the error of each.

        It is ``None`` if the broker acknowledged the record. If one cannot be buffered, it and all
        later ones have its error.
        """
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
        """Do as ``send`` for a batch that the caller has filled."""
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
