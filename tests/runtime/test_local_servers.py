"""The local servers.

The databases are separate, errors at the start are reported, and no process is left at the end.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.local import postgres_home
from deploy.local.databases import SERVICES, create_databases, database_of, owner_address, owner_of
from deploy.local.errors import LocalStackError
from deploy.local.kafka import KafkaServer
from deploy.local.layout import CHECKOUT
from deploy.local.lock import DemoLock, holder
from deploy.local.ports import free_port, require_free
from deploy.local.postgres import PostgresServer
from deploy.local.program import Program, Running
from tests.conftest import RunningPostgres

LAUNCHER = """
import sys, time
from pathlib import Path
from deploy.local.postgres import PostgresServer
from deploy.local.program import Program
from deploy.local.supervision import Supervisor
root = Path(sys.argv[1])
server = PostgresServer(root / "postgres")
sleeper = Program("sleeper", (sys.executable, "-c", "import time; time.sleep(600)"), root / "s.log", lambda: True)
supervisor = Supervisor(root, [server.program()], [sleeper])
supervisor.launch()
for name in ("PostgreSQL", "sleeper"):
    supervisor.start_program(name)
    while not supervisor.is_ready(name):
        time.sleep(0.05)
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def own_server(postgres_server: PostgresServer | RunningPostgres) -> PostgresServer:
    """The session's server; the test is skipped if another process started it."""
    if isinstance(postgres_server, RunningPostgres):
        pytest.skip("this PostgreSQL was not started by the test run")
    return postgres_server


async def test_a_role_connects_to_its_own_database_and_to_no_other(own_server: PostgresServer, tmp_path: Path) -> None:
    addresses = create_databases(own_server, tmp_path)
    assert create_databases(own_server, tmp_path) == addresses  # repeating it changes nothing
    for service in SERVICES:
        others = [*(database_of(other) for other in SERVICES if other != service), "postgres", "template1"]
        for address in (addresses[service], owner_address(own_server, tmp_path, service)):
            own = await asyncpg.connect(address)
            assert await own.fetchval("SELECT current_database()") == database_of(service)
            await own.close()
            for other in others:
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
                    await asyncpg.connect(f"{address.rpartition('/')[0]}/{other}")


async def test_a_services_role_owns_nothing_when_it_was_the_owner_before(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    dsn, role = create_databases(own_server, tmp_path)["alerts"], database_of("alerts")
    admin = await asyncpg.connect(own_server.admin_dsn)
    await admin.execute(f"ALTER DATABASE {role} OWNER TO {role}")  # as in stacks from before there were owner roles
    before = await asyncpg.connect(dsn)
    await before.execute("CREATE TABLE of_old (id int); CREATE FUNCTION of_old() RETURNS int RETURN 1")
    await before.close()
    create_databases(own_server, tmp_path)
    service = await asyncpg.connect(dsn)
    owners = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'of_old' UNION ALL "
    owners += "SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'of_old' UNION ALL "
    owners += "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert {row[0] for row in await service.fetch(owners)} == {owner_of(role)}
    for forbidden in (
        "DROP TABLE of_old",
        "CREATE TABLE new (id int)",
        "CREATE SCHEMA new",
        f"SET ROLE {owner_of(role)}",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(forbidden)
    await service.execute("CREATE TEMPORARY TABLE own_temporary (id int)")
    await service.close()
    await admin.close()


async def test_a_wrong_password_is_refused(own_server: PostgresServer, tmp_path: Path) -> None:
    create_databases(own_server, tmp_path)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(own_server.dsn("unitpool_alerts", "guess", "unitpool_alerts"))


async def test_committed_rows_survive_when_the_server_is_killed(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "pg")
    try:
        server.start()
        connection = await asyncpg.connect(server.admin_dsn)
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        assert await connection.fetchval("SHOW fsync") == "on"
        server.kill()
        server.restart()
        connection = await asyncpg.connect(server.admin_dsn)
        assert await connection.fetchval("SELECT one FROM kept") == 1
        await connection.close()
    finally:
        server.stop()
        postgres_home.delete(tmp_path / "pg" / "data")


def test_a_taken_port_is_named_before_anything_starts(own_server: PostgresServer) -> None:
    with pytest.raises(LocalStackError, match=rf"Nothing was started: port {own_server.port} \(postgres\)"):
        require_free({"postgres": own_server.port, "kafka": free_port()})


def test_a_server_that_dies_at_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "broken.log"
    program = Program("Broken", (sys.executable, "-c", "import sys; sys.exit('no such thing')"), log, lambda: False)
    with pytest.raises(LocalStackError) as caught:
        Running(program).start()
    assert str(caught.value).startswith(f"Broken stopped while starting (exit code 1). Its log is {log}.")
    assert "no such thing" in str(caught.value)


def test_kafka_fails_to_start_with_its_log_named_when_its_configuration_is_bad(tmp_path: Path) -> None:
    server = KafkaServer(tmp_path / "kafka")
    server.prepare()
    (tmp_path / "kafka" / "data" / "meta.properties").write_text("broken")
    with pytest.raises(LocalStackError, match=r"Kafka stopped while starting .* Its log is .*kafka\.log"):
        server.start()


def test_the_error_names_the_reason_when_the_disk_is_full(tmp_path: Path) -> None:
    program = Program(
        "Full", (sys.executable, "-c", "import sys; sys.exit('write: No space left on device')"),
        tmp_path / "full.log", lambda: False,
    )  # fmt: skip
    with pytest.raises(LocalStackError, match="because the disk is full"):
        Running(program).start()


def test_a_second_demo_is_refused_when_one_is_running(tmp_path: Path) -> None:
    path = tmp_path / "demo.pid"
    held = "import sys, time; from pathlib import Path; from deploy.local.lock import DemoLock; "
    held += "lock = DemoLock(Path(sys.argv[1])); lock.take(); print('held', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", held, str(path)], stdout=subprocess.PIPE, cwd=CHECKOUT) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == b"held\n"
            assert holder(path) == first.pid
            with pytest.raises(LocalStackError, match=f"running already \\(process {first.pid}\\)"):
                DemoLock(path).take()
        finally:
            first.kill()
    assert holder(path) is None
    DemoLock(path).take()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_launcher_dies(tmp_path: Path, number: signal.Signals) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path)], stdout=subprocess.PIPE, cwd=CHECKOUT, env=dict(os.environ)
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == b"up\n"
    started = psutil.Process(launcher.pid).children(recursive=True)
    assert {"postgres"} <= {process.name() for process in started}
    assert len(started) > 3
    launcher.send_signal(number)
    launcher.wait()
    launcher.stdout.close()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
    postgres_home.delete(tmp_path / "postgres" / "data")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_nothing_is_left_when_the_process_manager_is_killed(tmp_path: Path) -> None:
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], stdout=subprocess.PIPE, cwd=CHECKOUT)
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == b"up\n"
    started = psutil.Process(launcher.pid).children(recursive=True)
    supervisord = int((tmp_path / "supervisord.pid").read_text())
    os.kill(supervisord, signal.SIGKILL)
    deadline = time.monotonic() + 30
    _, alive = psutil.wait_procs(
        [one for one in started if one.pid != supervisord], timeout=deadline - time.monotonic()
    )
    assert not alive
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    postgres_home.delete(tmp_path / "postgres" / "data")
