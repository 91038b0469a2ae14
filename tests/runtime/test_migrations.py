"""Migrations: each file is applied once, by one runner at a time.

A changed file is refused.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from shared.runtime.postgres import pool
from shared.runtime.postgres.grants import Access
from shared.runtime.postgres.migrations import MigrationError, find_fault, load_migrations, migrate
from shared.runtime.postgres.pool import DATABASE_ERRORS, describe_database_error
from shared.runtime.process.settings import ServiceSettings
from tests.conftest import MakeDatabase, StartService
from tests.support.drivers.processes import ROOT, service_env
from tests.support.drivers.runtime import until
from tests.support.servers.databases import as_owner, connect, drop_database, named


@pytest.fixture
async def empty(postgres_server: Any) -> Any:
    dsn = named(postgres_server.admin_dsn, f"test_migrations_{id(object())}")
    async with connect(postgres_server.admin_dsn) as admin:
        await admin.execute(f'CREATE DATABASE "{dsn.rsplit("/", 1)[1]}"')
    yield dsn
    await drop_database(postgres_server.admin_dsn, dsn)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE first (id int); CREATE INDEX first_id ON first (id);")
    (tmp_path / "0002_second.sql").write_text("SELECT pg_sleep(0.3); CREATE TABLE second (id int);")
    return tmp_path


async def test_each_file_is_applied_once_when_two_runners_run_at_once(empty: str, folder: Path) -> None:
    async def run() -> list[str]:
        async with connect(empty) as connection:
            return await migrate(connection, load_migrations("alerts", folder))

    results = await asyncio.gather(run(), run(), run())
    every = [migration.name for migration in load_migrations("alerts", folder)]
    assert (every[0], every[-2:]) == ("runtime/0001_delivery", ["alerts/0001_first", "alerts/0002_second"])
    assert sorted(results, key=len) == [[], [], every]
    async with connect(empty) as connection:
        assert await find_fault(connection, load_migrations("alerts", folder)) is None


async def test_the_error_names_the_file_when_it_was_changed(empty: str, folder: Path) -> None:
    async with connect(empty) as connection:
        await migrate(connection, load_migrations("alerts", folder))
        (folder / "0001_first.sql").write_text("CREATE TABLE first (id bigint);")
        with pytest.raises(MigrationError, match=r"0001_first\.sql has changed"):
            await migrate(connection, load_migrations("alerts", folder))
        assert "0001_first.sql has changed" in str(await find_fault(connection, load_migrations("alerts", folder)))


async def test_nothing_is_changed_and_the_file_is_named_when_it_fails(empty: str, folder: Path) -> None:
    (folder / "0003_third.sql").write_text("CREATE TABLE third (id int); SELECT 1 / 0;")
    async with connect(empty) as connection:
        with pytest.raises(MigrationError, match=r"0003_third\.sql failed: division by zero"):
            await migrate(connection, load_migrations("alerts", folder))
        assert await connection.fetchval("SELECT to_regclass('third')") is None
        assert await connection.fetchval("SELECT to_regclass('second')") is not None
        fault = await find_fault(connection, load_migrations("alerts", folder))
        assert "behind by alerts/0003_third" in str(fault)


async def test_the_fault_names_whether_the_database_is_ahead_or_was_never_migrated(empty: str, folder: Path) -> None:
    async with connect(empty) as connection:
        assert "never migrated" in str(await find_fault(connection, load_migrations("alerts", folder)))
        await migrate(connection, load_migrations("alerts", folder))
        (folder / "0002_second.sql").unlink()
        fault = await find_fault(connection, load_migrations("alerts", folder))
        assert str(fault) == "the database is ahead of this program: alerts/0002_second is not known here"
        with pytest.raises(MigrationError, match=r"ahead of this program: alerts/0002_second .* nothing was changed"):
            await migrate(connection, load_migrations("alerts", folder))


async def test_every_command_fails_with_a_message_when_the_schema_is_newer_than_the_program(
    database: MakeDatabase, service_process: StartService, kafka_server: Any, topic_prefix: str
) -> None:
    """``serve`` exits at once when a schema is newer than the program.

    No other command changes such a schema.
    """
    dsn = await database("alerts")
    async with connect(as_owner(dsn)) as owner:
        await owner.execute("INSERT INTO schema_migrations (name, checksum) VALUES ('alerts/9999_later', 'x')")
    env = service_env("alerts", dsn=dsn, kafka=kafka_server.bootstrap_servers, topic_prefix=topic_prefix)
    process = service_process("alerts", env)
    await until(lambda: process.exit_code is not None, what="its end")
    assert process.exit_code == 1
    assert process.log is not None
    said = process.log.read_text()
    assert "the database is ahead of this program: alerts/9999_later is not known here" in said
    assert "Traceback" not in said
    for command in ("migrate", "rebuild", "replay", "positions"):
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.alerts", command),
            cwd=ROOT,
            env={**os.environ, **env, "UNITPOOL_ALERTS_MIGRATE_DATABASE_URL": as_owner(dsn)},
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        _, errors = await running.communicate()
        assert running.returncode == 1, command
        assert b"ahead of this program: alerts/9999_later" in errors, command


async def test_the_error_differs_from_an_outage_when_the_credentials_are_wrong(database: MakeDatabase) -> None:
    """Readiness has the same message.

    It thus also names a password that was changed while the service ran.
    """
    dsn = urlsplit(await database("alerts"))
    place = f"{dsn.hostname}:{dsn.port}"
    user = dsn.netloc.rpartition("@")[0].partition(":")[0]
    for changed, says in (
        ({"netloc": f"nobody-of-that-name:hunter2secret@{place}"}, "answers, but refuses this service's user"),
        ({"netloc": f"{user}:hunter2secret@127.0.0.1:1"}, "does not answer"),
        ({"path": "/no_such_database"}, "answers, but"),
    ):
        settings = ServiceSettings.model_validate({"database_url": dsn._replace(**changed).geturl()})
        with pytest.raises(DATABASE_ERRORS) as failure:
            await pool.connect(settings, "alerts")
        said = describe_database_error(failure.value, settings)
        assert says in said
        assert "hunter2secret" not in said


@pytest.mark.parametrize("name", ["1_short.sql", "0003-dash.sql", "0001_again.sql"])
def test_a_file_is_refused_when_its_name_is_invalid_or_repeated(folder: Path, name: str) -> None:
    (folder / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=r"not named like|same number"):
        load_migrations("alerts", folder)


async def test_the_next_runner_gets_the_lock_when_one_was_killed(empty: str, folder: Path) -> None:
    doomed = await asyncpg.connect(empty)
    running = asyncio.create_task(migrate(doomed, load_migrations("alerts", folder)))
    await asyncio.sleep(0.1)
    doomed.terminate()
    await asyncio.gather(running, return_exceptions=True)
    async with connect(empty) as connection:
        await migrate(connection, load_migrations("alerts", folder))
        assert await find_fault(connection, load_migrations("alerts", folder)) is None


async def test_a_services_role_has_rights_on_rows_only(database: MakeDatabase, folder: Path) -> None:
    dsn = await database("runtime")
    (folder / "0002_second.sql").write_text(
        "CREATE TABLE second (id int GENERATED ALWAYS AS IDENTITY, word text);"
        "CREATE FUNCTION add(word text) RETURNS void SECURITY DEFINER"
        " BEGIN ATOMIC INSERT INTO second (word) VALUES (word); END;"
        "REVOKE EXECUTE ON FUNCTION add FROM PUBLIC;"
    )
    migrations = load_migrations("alerts", folder)
    async with connect(as_owner(dsn)) as owner, connect(dsn) as service:
        role = await service.fetchval("SELECT current_user")
        await migrate(owner, migrations, Access(role, ("second",)))
        await owner.execute("CREATE TABLE later (id int)")
        for table in ("first", "later", "outbox"):
            await service.execute(f"TABLE {table}; TRUNCATE {table}")
        await service.execute("INSERT INTO first VALUES (1); UPDATE first SET id = 2; DELETE FROM first")
        await service.execute("SELECT add('word')")
        assert await service.fetchval("SELECT word FROM second") == "word"
        for forbidden in (
            "INSERT INTO second (word) VALUES ('x')",
            "UPDATE second SET word = 'x'",
            "DELETE FROM second",
            "TRUNCATE second",
            "INSERT INTO schema_migrations (name, checksum) VALUES ('alerts/0009_x', 'x')",
            "ALTER TABLE first ADD COLUMN x int",
            "DROP TABLE first",
            "CREATE TABLE mine (id int)",
            "CREATE OR REPLACE FUNCTION add(word text) RETURNS void LANGUAGE sql AS ''",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(forbidden)
        await owner.execute(f"GRANT ALL ON second TO {role}")
        assert await migrate(owner, migrations, Access(role, ("second",))) == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute("DELETE FROM second")


async def test_the_error_names_a_protected_table_that_does_not_exist(database: MakeDatabase, folder: Path) -> None:
    async with connect(as_owner(await database("runtime"))) as owner:
        with pytest.raises(MigrationError, match="do not exist: secnod"):
            await migrate(owner, load_migrations("alerts", folder), Access("test_runtime", ("first", "secnod")))
