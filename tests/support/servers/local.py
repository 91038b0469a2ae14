"""The servers of a test run: as ``deploy.local`` has them, but for what costs time and proves nothing here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local import postgres_home
from deploy.local.kafka import KafkaServer
from deploy.local.postgres import PostgresServer

# Hundreds of databases are made and dropped, and none outlives the run. Tests that kill PostgreSQL have a durable one.
_FLEETING = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_compression": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "128MB",
    "scram_iterations": "1",
}

# The broker does little and is started often: its second compiler costs more than its code gains.
JAVA_OPTIONS = ("-XX:-UseG1GC", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@contextmanager
def running_postgres(root: Path, *, durable: bool) -> Iterator[PostgresServer]:
    """One below ``root``; it and its data are gone afterwards. ``durable``: as deployed."""
    server = PostgresServer(root, settings={} if durable else _FLEETING)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        postgres_home.delete(root / "data")


@pytest.fixture(scope="module", name="postgres_server")
def durable_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """For files that kill it, by importing this: one that keeps what it has committed."""
    with running_postgres(tmp_path_factory.mktemp("durable"), durable=True) as server:
        yield server


@contextmanager
def running_kafka(root: Path) -> Iterator[KafkaServer]:
    """One below ``root``, without any topics."""
    server = KafkaServer(root, java_options=JAVA_OPTIONS)
    try:
        server.start()
        yield server
    finally:
        server.kill()
