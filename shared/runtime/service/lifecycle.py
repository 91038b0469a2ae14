"""The lifecycle of a service process.

It waits for what it needs, starts, and stops in order.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Generic

from aiokafka.errors import KafkaError

from shared.events.topics import dead_letter_name
from shared.runtime.delivery import outbox, outbox_set_aside
from shared.runtime.delivery.lag import ConsumerState
from shared.runtime.delivery.topic_watch import TopicWatch
from shared.runtime.kafka.batch_source import connect
from shared.runtime.kafka.client import describe_kafka_error
from shared.runtime.postgres import migrations
from shared.runtime.postgres.migrations import MigrationError
from shared.runtime.postgres.pool import DATABASE_ERRORS, check_answers, describe_database_error, open_pool
from shared.runtime.process import metrics
from shared.runtime.process.background import BackgroundTask
from shared.runtime.process.health import CHECK_SECONDS, Check
from shared.runtime.process.settings import S
from shared.runtime.service.definition import Runtime

GC_THRESHOLDS = (200_000, 5, 20)
WAIT_SECONDS = 0.5
"""Pause between two checks of what the start waits for."""
LOG_EVERY_SECONDS = 10.0
"""Shortest time between two log lines with the same reason for waiting."""
BROKER_SECONDS = 2.0
"""Longest wait of a readiness check for Kafka."""


def freeze_garbage_collector() -> None:
    """Exclude everything loaded so far from garbage collection.

    The collector's walk over all modules would pause the process. Later collections use ``GC_THRESHOLDS``.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class Lifecycle(Generic[S]):
    """Starts and stops one runtime, and adds its readiness checks."""

    def __init__(self, runtime: Runtime[S]) -> None:
        self.runtime = runtime
        self.started = False
        self._has_database = False
        self._kafka_is_away = False
        self._phase = "starting"
        self._said: tuple[str, float] = ("", 0.0)
        self._tasks: list[asyncio.Task[None]] = []
        self._measuring: asyncio.Task[Check] | None = None
        self._watch = TopicWatch(runtime.cluster, runtime.consumers)
        self._add_checks()

    @property
    def is_open(self) -> bool:
        """Whether requests are answered: once the database answers, with or without Kafka.

        Not during a rebuild of the read model, when answers would be incomplete.
        """
        return self._has_database and self.runtime.read_model_state.is_complete

    async def start(self, *, with_tasks: bool = True) -> None:
        """Wait for what the service needs, then start everything.

        It needs the database, its migrations, Kafka and the topics. The reason for waiting is logged.
        """
        runtime = self.runtime
        await self._until(self._database_answers)
        await self._until(self._migrations_fit)
        self._has_database = True
        watching = ("rebuilds", runtime.read_model_state.run), ("clock", runtime.database_clock.run)
        self._tasks += [asyncio.create_task(BackgroundTask(name, watch).run()) for name, watch in watching]
        await self._until(self._topics_exist)
        for starter in runtime.starters:
            await starter()
        await runtime.producer.start()
        work = [
            BackgroundTask("relay", runtime.relay.run),
            BackgroundTask("topics", self._watch.run),
            *(runtime.tasks if with_tasks else ()),
        ]
        for task in work:
            self.runtime.health.add(f"task:{task.name}", task.check)
        freeze_garbage_collector()
        await connect(runtime.broker, runtime.settings)
        consumers = list(runtime.consumers)  # a task may add and start one of its own
        self._tasks += [asyncio.create_task(task.run(), name=task.name) for task in work]
        await asyncio.gather(*(consumer.start() for consumer in consumers))
        self.started = True
        self._phase = "running"
        runtime.log.info("service_started", consumers=[one.topic.name for one in runtime.consumers])

    async def stop(self) -> None:
        """Stop consumers after their running batches, drain the outbox, close everything."""
        runtime = self.runtime
        self._phase = "stopping"
        for consumer in runtime.consumers:
            consumer.begin_stop()
        await self._run_logged("consumers", runtime.broker.stop)
        await runtime.relay.drain(1)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._run_logged("producer", runtime.producer.stop)
        await self._run_logged("cluster", runtime.cluster.close)
        for closer in runtime.closers:
            await self._run_logged(closer.__qualname__, closer)
        await self._run_logged("pool", runtime.pool.close)

    async def measure(self) -> None:
        """Update the gauges of lag and outbox."""
        for state in self._states().values():
            metrics.CONSUMER_LAG_RECORDS.labels(topic=state.topic).set(state.lag_records)
            metrics.CONSUMER_LAG_SECONDS.labels(topic=state.topic).set(state.lag_seconds)
            metrics.CONSUMER_HALTED.labels(topic=state.topic).set(int(state.halted))
            for partition, one in state.partitions.items():
                metrics.PARTITION_LAG_RECORDS.labels(topic=state.topic, partition=partition).set(one.records)
                metrics.PARTITION_POSITION.labels(topic=state.topic, partition=partition).set(one.position)
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._outbox())
        await asyncio.wait([self._measuring], timeout=CHECK_SECONDS)
        if self._measuring.done() and (error := self._measuring.exception()):  # they keep their last values
            self.runtime.log.debug("outbox_not_measured", error=repr(error))

    def _states(self) -> dict[str, ConsumerState]:
        """Consumer states by topic, several of one topic merged."""
        states: dict[str, ConsumerState] = {}
        for consumer in self.runtime.consumers:
            state = consumer.state(self.runtime.clock())
            states[state.topic] = state.merged_with(states[state.topic]) if state.topic in states else state
        return states

    async def _run_logged(self, what: str, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except Exception as error:
            self.runtime.log.warning("stopped_with_error", part=what, error=repr(error))

    # ---- waiting ---------------------------------------------------------------------------------------------------

    async def _until(self, find_missing: Callable[[], Awaitable[str | None]]) -> None:
        """Poll ``find_missing`` until it returns ``None``.

        What it returns is logged now and then.
        """
        loop = asyncio.get_running_loop()
        while missing := await find_missing():
            self._phase = missing
            said, at = self._said
            if missing != said or loop.time() - at > LOG_EVERY_SECONDS:
                self._said = (missing, loop.time())
                self.runtime.log.warning("waiting", reason=missing)
            await asyncio.sleep(WAIT_SECONDS)

    async def _database_answers(self) -> str | None:
        try:
            await open_pool(self.runtime.pool, self.runtime.settings)
            async with self.runtime.pool.acquire() as connection:
                await connection.fetchval("SELECT true")
            await self.runtime.database_clock.measure()
        except DATABASE_ERRORS as error:
            return f"waiting for {describe_database_error(error, self.runtime.settings)}"
        return None

    async def _migrations_fit(self) -> str | None:
        """Why the migrations do not fit the database; ``None``: they do.

        Raises:
            MigrationError: waiting cannot help.
        """
        try:
            async with self.runtime.pool.acquire() as connection:
                fault = await migrations.find_fault(connection, self.runtime.migrations)
        except DATABASE_ERRORS as error:
            return f"waiting for {describe_database_error(error, self.runtime.settings)}"
        if fault and fault.is_final:
            raise MigrationError(str(fault))
        return str(fault) if fault else None

    async def _topics_exist(self) -> str | None:
        wanted = {consumer.topic.name for consumer in self.runtime.consumers}
        wanted |= {dead_letter_name(name, self.runtime.name) for name in wanted}
        try:
            present = await self.runtime.cluster.describe(wanted)
        except (KafkaError, OSError) as error:
            self._kafka_is_away = True
            return await describe_kafka_error(error, self.runtime.settings)
        self._kafka_is_away = False
        missing = sorted(f"{self.runtime.settings.kafka_topic_prefix}{name}" for name in wanted - set(present))
        return f"waiting for topics that do not exist: {', '.join(missing)}" if missing else None

    # ---- readiness -------------------------------------------------------------------------------------------------

    def _add_checks(self) -> None:
        health = self.runtime.health
        health.add("startup", self._startup)
        health.add("database", self._database)
        health.add("migrations", self._migrations)
        health.add("clock", self.runtime.database_clock.check)
        health.add("broker", self._broker)
        health.add("outbox", self._outbox)
        health.add("topics", self._watch.check)
        if self.runtime.definition.read_model:
            health.add("read_model", self.runtime.read_model_state.check)
        for topic in self._states():
            health.add(f"consumer:{topic}", self._consumer_check(topic))

    async def _startup(self) -> Check:
        return Check(
            ok=self.started and self._phase == "running",
            detail=self._phase,
            shared=self._has_database and self._kafka_is_away and self._phase != "stopping",
        )

    async def _database(self) -> Check:
        try:
            await check_answers(self.runtime.pool)
        except DATABASE_ERRORS as error:
            return Check(ok=False, detail=describe_database_error(error, self.runtime.settings))
        return Check(ok=True, detail="answers")

    async def _migrations(self) -> Check:
        try:
            fault = await self._migrations_fit()
        except MigrationError as error:
            fault = str(error)
        return Check(ok=fault is None, detail=fault or "up to date")

    async def _broker(self) -> Check:
        try:
            async with asyncio.timeout(BROKER_SECONDS):  # one that hangs is away for all replicas, too
                await self.runtime.cluster.describe(())
        except (KafkaError, TimeoutError) as error:
            return Check(ok=False, detail=f"does not answer: {error!r}", shared=True)
        return Check(ok=True, detail="answers")

    async def _outbox(self) -> Check:
        async with self.runtime.pool.acquire() as connection:
            pending, oldest = await outbox.measure(connection)
            refused = await outbox_set_aside.describe(connection)
        metrics.OUTBOX_PENDING.set(pending)
        metrics.OUTBOX_OLDEST_SECONDS.set(oldest)
        metrics.OUTBOX_SET_ASIDE.set(refused.places)
        ok = oldest <= self.runtime.settings.outbox_alarm_seconds and not refused.places
        detail = f"{pending} waiting, the oldest for {oldest:.1f} s" + (f"; {refused}" if refused.places else "")
        return Check(ok=ok, detail=detail, shared=True)

    def _consumer_check(self, topic: str) -> Callable[[], Awaitable[Check]]:
        async def check() -> Check:
            state = self._states()[topic]
            lag = f"lag {state.lag_records} records, {state.lag_seconds:.1f} s"
            detail = "; ".join(filter(None, (state.fault or "running", lag, state.note)))
            return Check(ok=state.fault is None, detail=detail, shared=state.shared or self._kafka_is_away)

        return check
