"""A service: its definition, and the runtime on which it is built.

The service registers consumers, routes and background tasks on the runtime.

The composition root (``services/<name>/main.py``) makes a ``ServiceDefinition``, whose ``build`` registers everything
on the ``Runtime``. Nothing runs before the database and Kafka answer.
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
from shared.runtime.http.middleware import Middleware, MiddlewareOptions
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

REBUILD_POLL_SECONDS = 0.5
"""Pause before commands are retried during a rebuild of the read model."""
COMMAND_GIVE_UP_SECONDS = 300.0
"""Longest time for which a command whose handler fails is retried.

Others of its key wait behind it.
"""


@dataclass(frozen=True, slots=True)
class ReadModel:
    """The tables that ``rebuild`` empties, and the topics that fill them again."""

    tables: tuple[str, ...]
    topics: tuple[Topic, ...]


def _no_arguments(_parser: ArgumentParser) -> None:
    """Add no arguments."""


def _not_offline(_parsed: Namespace) -> int | None:
    """Leave the command to ``run``."""


@dataclass(frozen=True, slots=True)
class ServiceCommand(Generic[S]):
    """A service's own command on the command line.

    It is called as ``python -m services.<service> <name>``.

    ``arguments`` adds its options to the parser. ``run`` is given the settings and the parsed options, opens what it
    needs, and returns the exit code; a database error that it raises makes the exit code 1.

    ``offline`` is called first, before settings are read: it does what needs none and returns the exit code, or
    ``None``, and then ``run`` is called.
    """

    name: str
    meaning: str
    run: Callable[[S, Namespace], Awaitable[int]]
    arguments: Callable[[ArgumentParser], None] = _no_arguments
    offline: Callable[[Namespace], int | None] = _not_offline


@dataclass(frozen=True, slots=True)
class ServiceDefinition(Generic[S]):
    """Everything that the runtime needs to know of a service.

    ``build`` registers the service's consumers, routes and tasks on a new ``Runtime``. ``migrations``: their folder.
    ``read_only``: tables that the service's role may not change, only functions of their owner (see ``grants``).
    ``commands``: its own, on the command line. ``api_options``: for FastAPI (``title``, ``openapi_url``, ``docs_url``;
    without them there are no documents). ``replay``: what the command ``replay`` does beside redriving dead letters
    (quarantined usage); returns how many records. ``session``: PostgreSQL settings of its connections.
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
    """One process of a service. Create it while the event loop runs."""

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
        self.app = Middleware(
            self.api, max_body_bytes=settings.http_max_body_bytes, options=MiddlewareOptions.of(settings)
        )
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
        """By reader and topic: lost records already in the metric, by reason."""
        self.tasks: list[BackgroundTask] = []
        self.starters: list[Callable[[], Awaitable[None]]] = []
        self.closers: list[Callable[[], Awaitable[None]]] = []
        self.hangups: list[Callable[[], None]] = []

    def consume(
        self, topic: Topic, handlers: Mapping[type[Payload], EventHandler], *, name: str | None = None
    ) -> TopicConsumer:
        """Consume events one by one, a batch per transaction.

        Types without a handler are ignored.
        """
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
        """Consume commands: verify them, decide each once, publish the outcome.

        The outcome is published on ``events_topic``, under the command's key.

        ``consumers``: how many of this process share the partitions; while one waits for the database, another decides.

        Raises:
            SettingsError: there are no keys to verify commands with.
        """
        if not self.settings.signing_keys:
            raise SettingsError("UNITPOOL_COMMAND_KEYS is not set: commands cannot be verified")
        inbox = Inbox(
            handlers,
            decided=decided,
            events_topic=events_topic,
            keys=self.settings.signing_keys,
        )
        postponed = PostponedCommands(
            inbox,
            topic,
            self.transaction,
            service=self.name,
            delay_max_seconds=self.settings.retry_delay_max_seconds,
            read_model_state=self.read_model_state,
        )
        self.background(f"postponed {topic.name}", postponed.run)
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
        """Consume records, a batch per transaction.

        ``name`` distinguishes several readers of one topic.

        With several handlers, as many batches of different partitions are applied at a time: while one waits for the
        database, another is read. Records of a partition stay in order.

        ``fill_wait_ms``: longest time for which Kafka holds back a small fetch to fill it, since most of a small
        batch's cost is its transaction; 0: as the settings say. ``on_lost``: called for records that will never be read
        (Kafka deleted them, or an operator skipped them), in the transaction that records the loss.

        When a handler raises a transient error, the batch is retried. After another error it is split until the failing
        record is alone. That becomes a dead letter if the error is permanent. Otherwise it is set aside with all that
        follow of its key and retried; after ``give_up_seconds`` (``None``: never) it becomes a dead letter.
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

    async def consume_found_topic(
        self,
        topic: Topic,
        handler: BatchHandler,
        *,
        max_records: int,
        fill_wait_ms: int = 0,
        on_lost: OnLost | None = None,
        retry_handler: BatchHandler | None = None,
    ) -> TopicConsumer:
        """Consume a topic that was found while the service runs.

        Does as ``consume_batch``, and starts the consumer.

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
        """Wrap a handler of commands, so that it waits for the read model.

        While this is rebuilt, the handler raises ``TransientError``, and the commands are retried.
        """

        async def handle(tx: Transaction, records: Sequence[Record]) -> None:
            if not self.read_model_state.is_complete:
                raise TransientError("the read model is being rebuilt", delay_seconds=REBUILD_POLL_SECONDS)
            await handler(tx, records)

        return handle

    def background(self, name: str, task: Callable[[], Awaitable[None]]) -> None:
        """Run ``task`` until the service stops; restart it when it fails or returns.

        The service is not ready meanwhile. After an error of Kafka, which all replicas share, the service is degraded
        instead.
        """
        self.tasks.append(
            BackgroundTask(name, task, is_transient=is_transient, is_shared=lambda error: isinstance(error, KafkaError))
        )

    def on_start(self, starter: Callable[[], Awaitable[None]]) -> None:
        """Await ``starter`` before the first record is read.

        The database is migrated by then.
        """
        self.starters.append(starter)

    def on_stop(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Await ``closer`` after consumers and tasks have stopped.

        Requests may still be running.
        """
        self.closers.append(closer)

    def on_hang_up(self, hang_up: Callable[[], None]) -> None:
        """Call ``hang_up`` when no more requests are taken.

        It ends streams, and requests that wait for an outcome.
        """
        self.hangups.append(hang_up)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction with an outbox, for work that no record caused."""
        return transaction(self.pool, self.clock, self.name)

    async def can_decide(self) -> None:
        """Wait until decisions are safe.

        They are when no read model is rebuilt, and the clock agrees with the database's.
        """
        while not (self.read_model_state.is_complete and self.database_clock.agrees):
            await self.read_model_state.wait_until_complete()
            await self.database_clock.wait()

    @asynccontextmanager
    async def deciding(self) -> AsyncIterator[Transaction]:
        """Open a ``transaction`` once decisions are safe (``can_decide``)."""
        await self.can_decide()
        async with self.transaction() as tx:
            yield tx
