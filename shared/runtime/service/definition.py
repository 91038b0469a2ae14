"""A service: what its composition root is given, and what the command line runs.

A composition root (``services/<name>/main.py``) makes a ``ServiceDefinition``; its ``build`` registers consumers, HTTP
routes and background tasks on the ``Runtime``. Nothing of it runs before the database and Kafka are there.
"""

from argparse import ArgumentParser, Namespace
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from aiokafka.errors import KafkaError
from fastapi import FastAPI
from faststream.kafka.prometheus import KafkaPrometheusMiddleware
from prometheus_client import REGISTRY

from shared.events.envelope import Payload
from shared.events.outcomes import CommandDecided
from shared.events.topics import ServiceName, Topic
from shared.runtime.commands.decisions import CommandHandler
from shared.runtime.commands.inbox import Inbox, command_name
from shared.runtime.commands.postponed import PostponedCommands
from shared.runtime.delivery.backoff import is_transient
from shared.runtime.delivery.batch_runner import BatchRunner, FailureLimit, transaction
from shared.runtime.delivery.consumer import TopicConsumer
from shared.runtime.delivery.dispatch import Dispatch
from shared.runtime.delivery.positions import OnLost, Positions
from shared.runtime.delivery.read_model_state import ReadModelState
from shared.runtime.delivery.relay import Relay
from shared.runtime.delivery.set_aside import SetAsideRetries
from shared.runtime.delivery.transaction import BatchHandler, EventHandler, Transaction, TransientError
from shared.runtime.http.middleware import Edge, EdgeOptions
from shared.runtime.http.routes import ApiRoute
from shared.runtime.kafka.batch_source import new_broker
from shared.runtime.kafka.cluster import Cluster
from shared.runtime.kafka.producer import Producer
from shared.runtime.postgres.database_clock import DatabaseClock
from shared.runtime.postgres.migrations import load_migrations
from shared.runtime.postgres.pool import new_pool
from shared.runtime.process import logging, metrics
from shared.runtime.process.background import BackgroundTask
from shared.runtime.process.clock import Clock
from shared.runtime.process.health import Check, Health
from shared.runtime.process.settings import S, SettingsError
from shared.runtime.records import Record

REBUILD_LOOK_SECONDS = 0.5
COMMAND_GIVE_UP_SECONDS = 300.0
"""How long a command whose handler fails is tried again. Others of its key wait behind it."""


@dataclass(frozen=True, slots=True)
class ReadModel:
    """What ``rebuild`` empties, and the topics that fill it again."""

    tables: tuple[str, ...]
    topics: tuple[Topic, ...]


def _no_arguments(_parser: ArgumentParser) -> None:
    """What most commands take."""


@dataclass(frozen=True, slots=True)
class ServiceCommand(Generic[S]):
    """A command of one service beside those that all have: ``python -m services.<service> <name>``.

    ``arguments`` adds its options to the parser. ``run`` gets the settings and what was parsed, and answers the exit
    code; it opens what it needs itself. Errors of the database that it lets through end with exit code 1.
    """

    name: str
    meaning: str
    run: Callable[[S, Namespace], Awaitable[int]]
    arguments: Callable[[ArgumentParser], None] = _no_arguments


@dataclass(frozen=True, slots=True)
class ServiceDefinition(Generic[S]):
    """All that the runtime needs to know of a service.

    ``read_only`` are tables that the service's role may not change; functions of their owner do (see ``access``).
    ``commands`` are its own on the command line. ``api_options`` go to FastAPI (``title``, ``openapi_url``,
    ``docs_url``; the documents are off unless set here). ``replay`` puts back what only the service knows of
    (quarantined usage) and answers how many. ``session`` are PostgreSQL's settings for its connections.
    """

    name: ServiceName
    settings_type: type[S]
    build: Callable[["Runtime[S]"], Awaitable[None] | None]
    migrations: Path
    read_model: ReadModel | None = None
    replay: Callable[["Runtime[S]"], Awaitable[int]] | None = None
    read_only: tuple[str, ...] = ()
    commands: tuple[ServiceCommand[S], ...] = ()
    api_options: Mapping[str, Any] = field(default_factory=dict)
    session: Mapping[str, str] = field(default_factory=dict)


class Runtime(Generic[S]):
    """One process of a service. Must be made while the event loop runs."""

    def __init__(self, definition: ServiceDefinition[S], settings: S, clock: Clock | None = None) -> None:
        self.definition = definition
        self.name = definition.name
        self.settings = settings
        self.log = logging.get(definition.name)
        self.pool = new_pool(settings, definition.name, definition.session)
        self.database_clock = DatabaseClock(self.pool, tolerated_seconds=settings.clock_tolerated_seconds)
        self.clock: Clock = clock or self.database_clock
        self.health = Health()
        self.api = FastAPI(**{"title": f"Unitpool {self.name}", "openapi_url": None, **definition.api_options})
        self.api.router.route_class = ApiRoute
        self.app = Edge(self.api, max_body_bytes=settings.http_max_body_bytes, options=EdgeOptions.of(settings))
        self.producer = Producer(settings, self.name)
        self.relay = Relay(settings, self.name)
        self.cluster = Cluster(settings, self.name)
        self.read_model_state = ReadModelState(self.pool, self.name)
        self.broker = new_broker(
            settings, self.name, [KafkaPrometheusMiddleware(registry=REGISTRY, app_name=self.name)]
        )
        self.migrations = load_migrations(self.name, definition.migrations)
        self.consumers: list[TopicConsumer] = []
        self._lost: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Of each reader and topic, how many lost records the metric has counted, by reason."""
        self.tasks: list[BackgroundTask] = []
        self.starters: list[Callable[[], Awaitable[None]]] = []
        self.closers: list[Callable[[], Awaitable[None]]] = []
        self.hangups: list[Callable[[], None]] = []

    def consume(
        self, topic: Topic, handlers: Mapping[type[Payload], EventHandler], *, name: str | None = None
    ) -> TopicConsumer:
        """Handle events one by one, a polled batch of them per transaction. Types without a handler are passed over."""
        return self.consume_batch(topic, Dispatch(handlers), max_records=self.settings.max_records, name=name)

    def consume_commands(
        self,
        topic: Topic,
        handlers: Mapping[type[Payload], CommandHandler],
        *,
        decided: type[CommandDecided],
        events_topic: Topic,
        consumers: int = 1,
    ) -> None:
        """Decide commands: verified, each once, the outcome published on ``events_topic`` with the command's key.

        ``consumers``: how many share the partitions here; while one waits for the database, another decides.

        Raises:
            SettingsError: there are no keys to verify commands with.
        """
        if not self.settings.signing_keys:
            raise SettingsError("UNITPOOL_COMMAND_KEYS is not set: no command could be verified")
        inbox = Inbox(
            handlers,
            decided=decided,
            events_topic=events_topic,
            keys=self.settings.signing_keys,
        )
        again = PostponedCommands(
            inbox,
            topic,
            self.transaction,
            service=self.name,
            delay_max_seconds=self.settings.retry_delay_max_seconds,
            read_model_state=self.read_model_state,
        )
        self.background(f"postponed {topic.name}", again.run)
        metrics.begin_commands(topic.name, (command_name(payload.event_type) for payload in handlers))
        for _ in range(consumers):
            self.consume_batch(
                topic,
                self._when_complete(inbox),
                max_records=self.settings.max_records,
                give_up_seconds=COMMAND_GIVE_UP_SECONDS,
            )

    def consume_batch(
        self,
        topic: Topic,
        *handlers: BatchHandler,
        max_records: int,
        name: str | None = None,
        fill_wait_ms: int = 0,
        on_lost: OnLost | None = None,
        retry_handler: BatchHandler | None = None,
        give_up_seconds: float | None = None,
    ) -> TopicConsumer:
        """Hand over raw records, a batch per transaction. ``name`` tells apart several readers of one topic.

        With several handlers so many batches are applied at the same time, of different partitions: while one waits
        for the database, another is read. The records of a partition stay in order.

        ``fill_wait_ms``: how long Kafka may hold back the first record of a small batch, so that others join it; where
        records come one after the other all the time, most of a small batch's cost is the transaction's.

        ``on_lost``: told of records that Kafka deleted before they were read, in the transaction that notes it.

        A handler that raises has its batch split until the culprit is alone. That record is set aside with all that
        follow of its key, and tried again by itself; after ``give_up_seconds`` (``None``: never) it is a dead letter.
        ``retry_handler`` handles what was set aside, beside the batches, if a handler has state of its own. A handler
        may change state in memory only by ``Transaction.after_commit``.
        """
        reader = name or self.name
        limit = FailureLimit(self.settings.dead_letter_limit, self.settings.dead_letter_window_seconds)
        applied: dict[int, int] = {}
        *runners, retrier = [
            BatchRunner(
                self.pool,
                handler,
                service=self.name,
                reader=reader,
                topic=topic.name,
                clock=self.clock,
                limit=limit,
                applied=applied,
            )
            for handler in (*handlers, retry_handler or handlers[0])
        ]
        metrics.begin_topic(topic.name)
        instance = self.settings.group_instance_id
        readers = sum(other.topic.name == topic.name for other in self.consumers)
        consumer = TopicConsumer(
            self.broker,
            runners,
            topic,
            Positions(
                self.pool,
                self.transaction,
                self.cluster,
                reader=reader,
                topic=topic.name,
                on_lost=on_lost,
                counted=self._lost[f"{reader} {topic.name}"],
            ),
            retries=SetAsideRetries(
                self.pool,
                self.transaction,
                retrier.retry,
                retrier.give_up,
                reader=reader,
                topic=topic.name,
                give_up_seconds=give_up_seconds,
            ),
            cluster=self.cluster,
            clock=self.clock,
            reader=reader,
            settings=self.settings,
            max_records=max_records,
            instance=f"{instance}-{readers}" if instance else None,
            fill_wait_ms=fill_wait_ms,
        )
        self.consumers.append(consumer)
        return consumer

    async def consume_also(
        self,
        topic: Topic,
        handler: BatchHandler,
        *,
        max_records: int,
        fill_wait_ms: int = 0,
        on_lost: OnLost | None = None,
        retry_handler: BatchHandler | None = None,
    ) -> TopicConsumer:
        """``consume_batch`` of a topic that was found while the service runs; readiness tells of it too.

        Raises:
            KafkaError: Kafka does not answer; nothing was added.
        """
        consumer = self.consume_batch(
            topic,
            handler,
            max_records=max_records,
            fill_wait_ms=fill_wait_ms,
            on_lost=on_lost,
            retry_handler=retry_handler,
        )
        try:
            await consumer.start()
        except BaseException:
            self.consumers.remove(consumer)
            raise

        async def check() -> Check:
            state = consumer.state(self.clock())
            return Check(ok=state.fault is None, detail=state.fault or f"running; lag {state.lag_records} records")

        self.health.add(f"consumer:{topic.name}", check)
        return consumer

    def _when_complete(self, handler: BatchHandler) -> BatchHandler:
        """Commands wait while that which they would be decided on is rebuilt; no offset moves meanwhile."""

        async def handle(tx: Transaction, records: Sequence[Record]) -> None:
            if not self.read_model_state.is_complete:
                raise TransientError("the read model is being rebuilt", delay_seconds=REBUILD_LOOK_SECONDS)
            await handler(tx, records)

        return handle

    def background(self, name: str, task: Callable[[], Awaitable[None]]) -> None:
        """Run ``task`` until the service stops; when it fails it is begun again, and readiness says so meanwhile."""
        self.tasks.append(
            BackgroundTask(name, task, is_transient=is_transient, is_shared=lambda error: isinstance(error, KafkaError))
        )

    def on_start(self, starter: Callable[[], Awaitable[None]]) -> None:
        """Await this once the database is there and migrated, before the first record is read."""
        self.starters.append(starter)

    def on_stop(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Await this once nothing is consumed any more and no task runs; a request may still be answered."""
        self.closers.append(closer)

    def on_hang_up(self, hang_up: Callable[[], None]) -> None:
        """Call this when no more requests are taken: what lasts ends now, what waits for an outcome is told so."""
        self.hangups.append(hang_up)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction with an outbox, for work that no record caused."""
        return transaction(self.pool, self.clock, self.name)

    async def can_decide(self) -> None:
        """Wait until something may be decided for good by the time, or by what others have told.

        That is: no read model is being rebuilt, and this machine's clock does not differ from the database's.
        """
        while not (self.read_model_state.is_complete and self.database_clock.agrees):
            await self.read_model_state.wait_until_complete()
            await self.database_clock.wait()

    @asynccontextmanager
    async def deciding(self) -> AsyncIterator[Transaction]:
        """``transaction``, once something can be decided."""
        await self.can_decide()
        async with self.transaction() as tx:
            yield tx
