"""Fixtures for all tests.

There is one PostgreSQL and one Kafka per test run, and a database and a topic prefix per test. With
``UNITPOOL_TEST_POSTGRES_DSN`` and ``UNITPOOL_TEST_KAFKA`` running servers are used instead, and tests that kill one are
skipped.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.kafka import KafkaServer
from deploy.local.postgres import PostgresServer
from deploy.local.topics import create_topics
from shared.events.topics import every_topic
from tests.support.drivers.fork_server import fork_servers
from tests.support.drivers.processes import ServiceProcess, start_service
from tests.support.servers.databases import create_database, drop_database
from tests.support.servers.local import running_kafka, running_postgres

# Services are started often, and without cached bytecode each would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Hypothesis would fail an example that takes 200 ms, which any can on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

TEST_PARTITIONS = 3
"""Partitions of each topic: several, and few enough to create quickly."""

LONG_FIRST = ("e2e/test_crash.py", "e2e", "runtime", "component", "browser", "architecture", "contract", "unit")
"""Order of the files: those with long tests first.

All workers then end at about the same time.
"""

MakeDatabase = Callable[[str], Awaitable[str]]
StartService = Callable[..., ServiceProcess]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by ``LONG_FIRST``; the order within a file is unchanged."""

    def place(item: pytest.Item) -> int:
        file = item.path.relative_to(Path(__file__).parent)
        return next((n for n, first in enumerate(LONG_FIRST) if file.is_relative_to(first)), len(LONG_FIRST))

    items.sort(key=place)


@dataclass(frozen=True)
class RunningPostgres:
    """A PostgreSQL that was running before the tests."""

    admin_dsn: str

    def kill(self) -> None:
        pytest.skip("this PostgreSQL was not started by the test run")

    restart = kill


@dataclass(frozen=True)
class RunningKafka:
    """A Kafka that was running before the tests."""

    bootstrap_servers: str

    def kill(self) -> None:
        pytest.skip("this Kafka was not started by the test run")

    restart = pause = resume = kill


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer | RunningPostgres]:
    """A PostgreSQL with its superuser.

    It is not durable, so tests that kill PostgreSQL start another one.
    """
    if dsn := os.environ.get("UNITPOOL_TEST_POSTGRES_DSN"):
        yield RunningPostgres(dsn)
        return
    with running_postgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer | RunningKafka]:
    """A Kafka without topics."""
    if servers := os.environ.get("UNITPOOL_TEST_KAFKA"):
        yield RunningKafka(servers)
        return
    with running_kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture
async def database(postgres_server: PostgresServer | RunningPostgres) -> AsyncIterator[MakeDatabase]:
    """Create a migrated database of a service.

    ``await database("allocation")`` returns its connection string.
    """
    if isinstance(postgres_server, PostgresServer) and not postgres_server.is_ready():
        postgres_server.restart()  # a failed test may have killed it
    made: list[str] = []

    async def make(service: str, migrations: Path | None = None) -> str:
        made.append(await create_database(postgres_server.admin_dsn, service, migrations))
        return made[-1]

    yield make
    for dsn in made:
        await drop_database(postgres_server.admin_dsn, dsn)


@pytest.fixture
async def topic_prefix(kafka_server: KafkaServer | RunningKafka) -> AsyncIterator[str]:
    """A prefix for this test, with which all topics exist (with few partitions)."""
    if isinstance(kafka_server, KafkaServer) and not kafka_server.is_ready():
        kafka_server.restart()
    prefix = f"t{uuid4().hex[:8]}."
    topics = [replace(topic, partitions=min(topic.partitions, TEST_PARTITIONS)) for topic in every_topic()]
    made = await create_topics(kafka_server.bootstrap_servers, prefix, topics)
    yield prefix
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics(made)
    finally:
        await admin.close()


@pytest.fixture(scope="session", autouse=True)
def _fork_servers() -> Iterator[None]:
    """Processes from which services are forked, so that they start quickly."""
    with fork_servers():
        yield


@pytest.fixture
def service_process(tmp_path: Path) -> Iterator[StartService]:
    """``start_service``, with processes that end with the test.

    Their logs are in ``tmp_path``.
    """
    started: list[ServiceProcess] = []

    def start(name: str, env: dict[str, str], *, module: str | None = None) -> ServiceProcess:
        started.append(start_service(name, env, module=module, log=tmp_path / f"{name}-{len(started)}.log"))
        return started[-1]

    yield start
    for process in started:
        process.kill()
