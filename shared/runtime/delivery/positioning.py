"""Seeks of a consumer's partitions to their stored offsets.

A seek is retried until PostgreSQL and Kafka answer.
"""

import asyncio
from collections.abc import Callable, Collection

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from shared.runtime.delivery.positions import MisfitError, Positions
from shared.runtime.delivery.transaction import TransientError
from shared.runtime.kafka.batch_source import BatchConsumer
from shared.runtime.postgres.pool import DATABASE_ERRORS
from shared.runtime.process import logging

RECHECK_SECONDS = 5.0
"""Pause before stored offsets that do not fit the topic are checked again."""


class Positioning:
    """Positions one consumer: a partition stays paused until its offset is known.

    ``failed`` counts a transient error and returns the seconds until the next attempt; ``done`` is given the next
    offset of each partition and returns whether they may be read.
    """

    def __init__(
        self,
        topic: str,
        positions: Positions,
        *,
        consumer: Callable[[], BatchConsumer],
        failed: Callable[[Exception], float],
        done: Callable[[dict[TopicPartition, int]], bool],
        log: logging.Log,
    ) -> None:
        self.misfit: str | None = None
        """Why the stored offsets do not fit the topic; ``None``: they do."""
        self._name = f"position-{topic}"
        self._positions = positions
        self._consumer = consumer
        self._failed = failed
        self._done = done
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._partitions: set[TopicPartition] = set()

    @property
    def is_running(self) -> bool:
        """Whether some partitions are not positioned yet."""
        return self._task is not None

    def begin(self, partitions: Collection[TopicPartition] | None = None) -> None:
        """Seek to the stored offsets of these partitions, or of all assigned ones.

        Partitions that wait already are included. While offsets do not fit the topic, this is retried until they do.
        """
        self.cancel()
        consumer = self._consumer()
        assigned = consumer.assignment()
        self._partitions = (self._partitions | set(assigned if partitions is None else partitions)) & assigned
        consumer.pause(*self._partitions)
        self._task = asyncio.create_task(self._seek(), name=self._name)

    def cancel(self) -> None:
        """Stop seeking; the partitions stay paused."""
        if self._task:
            self._task.cancel()
            self._task = None

    async def _seek(self) -> None:
        while True:
            try:
                found = await self._positions.find(self._consumer(), self._partitions)
                break
            except MisfitError as error:
                self._note_misfit(str(error))
                await asyncio.sleep(RECHECK_SECONDS)
            except (*DATABASE_ERRORS, KafkaError, TransientError) as error:
                await asyncio.sleep(min(self._failed(error), 1))
        self.misfit = None
        consumer = self._consumer()
        for tp, offset in found.items():
            consumer.begin_at(tp, offset)
        if self._done(found):
            consumer.resume(*found)
            self._log.info("consumer_positioned", partitions=len(found))
        self._partitions.clear()
        self._task = None

    def _note_misfit(self, sentence: str) -> None:
        if sentence != self.misfit:
            self._log.error("consumer_halted", reason=sentence)
        self.misfit = sentence
