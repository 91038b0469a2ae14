"""The environment of a section: servers, topics, databases and processes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.ports import free_port
from deploy.local.topics import create_topics
from shared.events.topics import Topic, every_topic
from tests.bench.progress import say
from tests.support.drivers.processes import ServiceProcess, service_env, start_service
from tests.support.servers.databases import as_owner, connect, copy_database, create_database, drop_database

READY_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Servers:
    """The superuser's connection string, Kafka's address, and a folder for logs."""

    admin_dsn: str
    kafka: str
    logs: Path


class Section:
    """The topics, databases and processes of one section."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.prefix = f"bench-{uuid4().hex[:8]}."
        self.databases: list[str] = []
        self.processes: list[ServiceProcess] = []

    def topic(self, topic: Topic) -> str:
        """Return the topic's name with the section's prefix."""
        return f"{self.prefix}{topic.name}"

    async def database(self, service: str) -> str:
        """Create a database of a service; return the connection string of its role."""
        self.databases.append(await create_database(self.servers.admin_dsn, service))
        return self.databases[-1]

    @asynccontextmanager
    async def copy(self, dsn: str) -> AsyncIterator[str]:
        """Copy a database for the block."""
        self.databases.append(await copy_database(self.servers.admin_dsn, dsn))
        yield self.databases[-1]
        await drop_database(self.servers.admin_dsn, self.databases.pop())

    async def start(self, service: str, dsn: str, *, wait: bool = True, **settings: str | int) -> ServiceProcess:
        """Start a process of a service with these settings.

        Wait until it is ready unless ``wait`` is false.
        """
        own = {name: str(value) for name, value in settings.items()}
        env = service_env(service, dsn=dsn, kafka=self.servers.kafka, topic_prefix=self.prefix, **own)
        del env[f"UNITPOOL_{service.upper()}_SESSION_TIMEOUT_SECONDS"]  # it is short for tests; the default counts here
        return await self._started(service, env, None, wait=wait)

    async def start_worker(self, dsn: str, **settings: str | int) -> ServiceProcess:
        """Start the process that makes reporting's exports, and wait until it is ready."""
        port = free_port()
        own = {name: str(value) for name, value in settings.items()} | {"worker_http_port": str(port)}
        env = service_env("reporting", dsn=dsn, kafka=self.servers.kafka, topic_prefix=self.prefix, **own)
        log = self.servers.logs / f"{self.prefix}worker.log"
        process = start_service(
            "reporting", env | {"UNITPOOL_REPORTING_HTTP_PORT": str(port)}, command="worker", log=log
        )
        self.processes.append(process)
        await process.wait_ready(READY_SECONDS)
        return process

    def command(self, service: str, dsn: str, command: str, **settings: str | int) -> ServiceProcess:
        """Start a command of a service that ends by itself."""
        own = {name: str(value) for name, value in settings.items()}
        env = service_env(service, dsn=dsn, kafka=self.servers.kafka, topic_prefix=self.prefix, **own)
        log = self.servers.logs / f"{self.prefix}{command}.log"
        self.processes.append(start_service(service, env, command=command, log=log))
        return self.processes[-1]

    async def start_bare(self, **settings: str) -> ServiceProcess:
        """Start the service that does nothing."""
        own = {f"UNITPOOL_BARE_{name.upper()}": value for name, value in settings.items()}
        env = {"UNITPOOL_BARE_KAFKA": self.servers.kafka, **own}
        return await self._started("bare", env, "tests.bench.bare_service", wait=True)

    async def _started(self, name: str, env: dict[str, str], module: str | None, *, wait: bool) -> ServiceProcess:
        log = self.servers.logs / f"{self.prefix}{name}.log"
        process = start_service(name, env, module=module, log=log)
        self.processes.append(process)
        if wait:
            await process.wait_ready(READY_SECONDS)
        return process


@asynccontextmanager
async def section(servers: Servers) -> AsyncIterator[Section]:
    """Create a section with topics; delete what it created at the block's end."""
    made = Section(servers)
    topics = await create_topics(servers.kafka, made.prefix, every_topic())
    try:
        yield made
    finally:
        for process in made.processes:
            process.kill()
        for dsn in made.databases:
            await drop_database(servers.admin_dsn, dsn)
        await _delete(servers.kafka, topics)


async def _delete(kafka: str, topics: list[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_topics(topics)
    finally:
        await admin.close()


async def settle(servers: Servers, dsn: str) -> None:
    """Vacuum, analyse and checkpoint, so that this does not disturb measurements."""
    say("vacuum, analyse and checkpoint")
    async with connect(as_owner(dsn)) as connection:
        await connection.execute("VACUUM ANALYZE")
    async with connect(servers.admin_dsn) as connection:
        await connection.execute("CHECKPOINT")
