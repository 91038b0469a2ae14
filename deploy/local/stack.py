"""The local stack: its programs, and their start with a progress line per step."""

import asyncio
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.local import assets, disk, jars, ports, postgres
from deploy.local.databases import SERVICES, addresses, create_databases, owner_address
from deploy.local.environment import clean_environment, kafka_address, oidc_environment, service_environment
from deploy.local.errors import LocalStackError, died_at_start, last_lines
from deploy.local.kafka import KafkaServer
from deploy.local.layout import CHECKOUT, Layout
from deploy.local.postgres import PostgresServer
from deploy.local.program import POLL_SECONDS, Program
from deploy.local.supervision import Supervisor
from deploy.local.topics import create_topics
from deploy.local.wait import Wait
from shared.events.topics import ServiceName

Say = Callable[[str], None]
NEEDED_MIB = 2048
WORKER = "reporting-worker"


def answers_ok(url: str) -> bool:
    """Whether a GET of ``url`` is answered with a 2xx status."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own loopback address
            return bool(200 <= answer.status < 300)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False


class Stack:
    """PostgreSQL, Kafka, the sign-in service, the services and reporting's worker.

    They run under one process manager.
    """

    def __init__(self, layout: Layout, say: Say) -> None:
        self._layout = layout
        self._say = say
        self.databases: Mapping[ServiceName, str] = {}
        self.supervisor: Supervisor | None = None

    def check(self) -> None:
        """Check programs, files, disk space and ports before anything is started.

        Raises:
            LocalStackError: a program or file is missing, the disk is full, or a port is taken.
        """
        postgres.programs()
        jars.class_path()
        assets.require()
        disk.require_free_space(self._layout.root, NEEDED_MIB)
        ports.require_free(self._layout.ports.by_name())

    async def start(self) -> None:
        """Start all programs and wait until all services are ready.

        Databases and topics are created.

        Raises:
            LocalStackError: a program did not start; the message has the end of its log.
        """
        layout = self._layout
        database_server = PostgresServer(layout.root / "postgres", layout.ports.postgres)
        kafka = KafkaServer(layout.root / "kafka", layout.ports.kafka, layout.ports.kafka_controller)
        self._say("preparing PostgreSQL and Kafka")
        servers = await asyncio.gather(asyncio.to_thread(database_server.program), asyncio.to_thread(kafka.program))
        environments = service_environment(layout, addresses(database_server, layout.secrets))
        services = [*(self._service(name, environments[name]) for name in SERVICES), self._worker(environments)]
        self.supervisor = Supervisor(layout.root, [*servers, self._sign_in()], services)
        self.supervisor.launch()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._prepare_databases(database_server, environments))
            group.create_task(self._prepare_topics())
            group.create_task(self._bring_up("sign-in"))
        await self._bring_up(*SERVICES, WORKER)

    async def _prepare_databases(
        self, server: PostgresServer, environments: Mapping[ServiceName, Mapping[str, str]]
    ) -> None:
        await self._bring_up("PostgreSQL")
        self.databases = await asyncio.to_thread(create_databases, server, self._layout.secrets)
        owners = {name: owner_address(server, self._layout.secrets, name) for name in SERVICES}
        await asyncio.gather(*(self._migrate(name, environments[name], owners[name]) for name in SERVICES))
        self._say("databases are created and migrated")

    async def _prepare_topics(self) -> None:
        await self._bring_up("Kafka")
        created = await create_topics(kafka_address(self._layout))
        self._say(f"{len(created)} topics created" if created else "topics exist")

    def stop(self) -> None:
        """Stop all programs, in order."""
        if self.supervisor:
            self.supervisor.stop()

    async def _bring_up(self, *names: str) -> None:
        if self.supervisor is None:
            raise RuntimeError("the process manager is not started")
        for name in names:
            self.supervisor.start_program(name)
        wait = Wait(", ".join(names), self._say)
        waiting = list(names)
        while waiting:
            for name in list(waiting):
                if self.supervisor.is_ready(name):
                    waiting.remove(name)
                    self._say(f"{name} is ready")
            log = self.supervisor.log_of(waiting[0].lower()) if waiting else None
            if log and wait.is_over(f"{', '.join(waiting)} not ready yet, the log is {log}"):
                raise died_at_start(waiting[0], None, log)
            await asyncio.sleep(POLL_SECONDS)

    def _sign_in(self) -> Program:
        url = f"http://{ports.HOST}:{self._layout.ports.oidc}/healthz"
        return Program(
            name="sign-in",
            command=(sys.executable, "-m", "deploy.local.oidc"),
            log=self._layout.logs / "sign-in.log",
            ready=lambda: answers_ok(url),
            environment=oidc_environment(self._layout),
            folder=CHECKOUT,
        )

    def _service(self, name: ServiceName, environment: Mapping[str, str]) -> Program:
        url = f"http://{ports.HOST}:{self._layout.ports.by_name()[name]}/readyz"
        return Program(
            name=name,
            command=(sys.executable, "-m", f"services.{name}"),
            log=self._log_of(name),
            ready=lambda: answers_ok(url),
            environment=environment,
            folder=CHECKOUT,
        )

    def _worker(self, environments: Mapping[ServiceName, Mapping[str, str]]) -> Program:
        url = f"http://{ports.HOST}:{self._layout.ports.reporting_worker}/readyz"
        return Program(
            name=WORKER,
            command=(sys.executable, "-m", "services.reporting", "worker"),
            log=self._log_of(WORKER),
            ready=lambda: answers_ok(url),
            environment=environments["reporting"],
            folder=CHECKOUT,
        )

    def _log_of(self, name: str) -> Path:
        return self._layout.logs / f"{name}.log"

    async def _migrate(self, name: ServiceName, environment: Mapping[str, str], owner: str) -> None:
        log = self._layout.logs / f"{name}-migrate.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"services.{name}", "migrate"),
                cwd=CHECKOUT,
                env={**clean_environment(), **environment, f"UNITPOOL_{name.upper()}_MIGRATE_DATABASE_URL": owner},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            code = await process.wait()
        if code != 0:
            raise LocalStackError(f"The database of {name} cannot be migrated. Its log is {log}.\n{last_lines(log)}")
