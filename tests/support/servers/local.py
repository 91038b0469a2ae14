"""The servers of a test run: those of ``deploy.local``, with quick starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local import postgres_home
from deploy.local.kafka import KafkaServer
from deploy.local.postgres import PostgresServer

# Not durable, because hundreds of databases are created and none outlives the run; tests that kill PostgreSQL use a
# durable one.
_FLEETING = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_compression": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "128MB",
    "scram_iterations": "1",
}

# Only the first compiler, because the broker is started often and does little: the second one costs more than it saves.
JAVA_OPTIONS = ("-XX:-UseG1GC", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@contextmanager
def running_postgres(root: Path, *, durable: bool) -> Iterator[PostgresServer]:
    """Run a PostgreSQL below ``root`` within the block, and delete its data.

    ``durable``: with the settings of a deployment.
    """
    server = PostgresServer(root, settings={} if durable else _FLEETING)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        postgres_home.delete(root / "data")


@pytest.fixture(scope="module", name="postgres_server")
def durable_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Run a durable server, for files that kill PostgreSQL.

    A file uses it by importing this fixture.
    """
    with running_postgres(tmp_path_factory.mktemp("durable"), durable=True) as server:
        yield server


@contextmanager
def running_kafka(root: Path) -> Iterator[KafkaServer]:
    """Run a Kafka without topics below ``root`` within the block."""
    server = KafkaServer(root, java_options=JAVA_OPTIONS)
    try:
        server.start()
        yield server
    finally:
        server.kill()
