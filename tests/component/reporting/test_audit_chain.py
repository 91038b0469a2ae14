"""The audit log: its chains, their verification, and the service role's rights."""

import asyncio
import json
import os
import random
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.reporting.domain.audit_chain import START, link_hash
from services.reporting.main import definition
from services.reporting.store.audit import insert_audit
from services.reporting.verification import chains as verification
from shared.events.envelope import Event
from shared.events.outcomes import AuditRecord, DecisionRecorded
from shared.runtime.postgres.grants import Access
from shared.runtime.postgres.migrations import load_migrations, migrate
from tests.conftest import MakeDatabase
from tests.support.builders.published import NOW, PRIMARY, event
from tests.support.drivers.processes import ROOT, service_env
from tests.support.drivers.reporting import ReportingDriver
from tests.support.servers.databases import as_owner, connect

MIGRATIONS = ROOT / "services" / "reporting" / "migrations"


def decision(account: str, number: int = 0) -> Event[DecisionRecorded]:
    after = {"units": number, "share": 0.1, "name": "Zoë \u2713 \U0001f600 'quoted' \\ \n"}
    record = AuditRecord(
        at=NOW, account=account, actor=PRIMARY, action="allocate", object="scan", after=after, outcome="allowed"
    )
    wrapped: Event[DecisionRecorded] = event(DecisionRecorded(record=record))
    return wrapped


def dsn_of(driver: ReportingDriver) -> str:
    return driver.runtime.settings.database_url.get_secret_value()


async def verify(driver: ReportingDriver, account: str | None = None) -> int:
    return await verification.verify(driver.runtime.settings, Namespace(account=account))


async def append(driver: ReportingDriver, events: Sequence[Event[DecisionRecorded]]) -> None:
    async with driver.runtime.pool.acquire() as connection, connection.transaction():
        await insert_audit(connection, *events)


async def test_chains_are_whole_when_many_append_to_the_same_and_to_different_accounts(
    empty: ReportingDriver, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each event arrives twice, in batches of mixed accounts in any order."""
    accounts = [f"account-{number}" for number in range(5)]
    events = [decision(account, number) for number in range(60) for account in accounts]
    chance = random.Random(4)
    deliveries = chance.sample(events, len(events)) + chance.sample(events, len(events))
    batches = [deliveries[start : start + 20] for start in range(0, len(deliveries), 20)]
    await asyncio.gather(*(append(empty, batch) for batch in batches))
    assert await verify(empty) == 0
    output = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in output[:-1]] == [f"{account}: 60 records" for account in accounts]
    assert output[-1] == "5 chains, 300 records: all whole"
    async with empty.runtime.pool.acquire() as connection:
        heads = await connection.fetch("SELECT account, hash FROM audit_chains ORDER BY account")
    assert [line.rsplit(" ", 1)[1] for line in output[:-1]] == [head["hash"].hex() for head in heads]


async def test_appends_wait_for_each_other_only_when_they_share_an_account(empty: ReportingDriver) -> None:
    await append(empty, [decision("acme"), decision("globex")])
    async with connect(dsn_of(empty)) as first, connect(dsn_of(empty)) as second:
        await second.execute("SET lock_timeout = '300ms'")
        async with first.transaction():
            await insert_audit(first, decision("acme"), decision("new"))
            await insert_audit(second, decision("globex"), decision("other"))
            for waiting in ("acme", "new"):
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await insert_audit(second, decision(waiting))
    await append(empty, [decision("acme"), decision("new")])
    assert await verify(empty) == 0


async def test_event_is_recorded_once_without_a_gap_when_it_comes_for_two_accounts(empty: ReportingDriver) -> None:
    one, other = decision("acme"), decision("globex")
    await append(empty, [one, other.model_copy(update={"id": one.id}), decision("globex")])
    assert await verify(empty) == 0
    async with empty.runtime.pool.acquire() as connection:
        rows = await connection.fetch("SELECT account, chain_sequence FROM audit_log ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [("acme", 1), ("globex", 1)]


# Record 3 of 6 is forged: its hash is recomputed, in the second case also those of all records after it.
_FORGED = """
UPDATE audit_log SET recorded = replace(recorded, 'allowed', 'denied') WHERE account = 'acme' AND chain_sequence = 3;
UPDATE audit_log SET record = recorded::jsonb, outcome = 'denied' WHERE account = 'acme' AND chain_sequence = 3;
UPDATE audit_log SET hash = audit_hash(previous_hash, chain_sequence, event_id, source, recorded)
WHERE account = 'acme' AND chain_sequence = 3;
"""
_RECOMPUTE_ALL = """
DO $$ DECLARE one record; before bytea; BEGIN
    FOR one IN SELECT * FROM audit_log WHERE account = 'acme' ORDER BY chain_sequence LOOP
        before := coalesce(before, one.previous_hash);
        UPDATE audit_log SET
            previous_hash = before,
            hash = audit_hash(before, chain_sequence, event_id, source, recorded)
        WHERE sequence = one.sequence RETURNING hash INTO before;
    END LOOP;
END $$;
"""
_SET = "UPDATE audit_log SET {} WHERE account = 'acme' AND chain_sequence = {}"
_SWAP = ";".join(_SET.format(f"chain_sequence = {to}", of) for of, to in ((3, 99), (4, 3), (99, 4)))
TAMPERINGS = {
    "changed text": (_SET.format("recorded = replace(recorded, 'allowed', 'denied')", 3), 3, "changed: its hash"),
    "changed jsonb": (_SET.format('record = record || \'{"outcome": "denied"}\'', 3), 3, "changed: its column record"),
    "changed actor": (_SET.format("actor = 'x@x.example'", 3), 3, "changed: its column actor"),
    "changed time": (_SET.format("at = at + interval '1 microsecond'", 3), 3, "changed: its column at"),
    "changed source": (_SET.format("source = '/other'", 3), 3, "changed: its hash"),
    "changed hash": (_SET.format("hash = sha256('x')", 3), 3, "changed: its hash"),
    "changed link": (_SET.format("previous_hash = sha256('x')", 3), 3, "hash wrong: it does not follow"),
    "no longer JSON": (_SET.format("recorded = 'x'", 1) + ";" + _RECOMPUTE_ALL, 1, "changed: its column recorded"),
    "deleted in the middle": ("DELETE FROM audit_log WHERE chain_sequence = 3", 3, "missing: the next record"),
    "deleted and closed up": (
        "DELETE FROM audit_log WHERE chain_sequence = 3; "
        "UPDATE audit_log SET chain_sequence = chain_sequence - 1 WHERE chain_sequence > 3",
        3,
        "hash wrong: it does not follow",
    ),
    "deleted first": ("DELETE FROM audit_log WHERE chain_sequence = 1", 1, "missing: the next record is 2"),
    "newest deleted": ("DELETE FROM audit_log WHERE chain_sequence > 4", 5, "truncated: the head counts 6"),
    "all deleted": ("DELETE FROM audit_log WHERE account = 'acme'", 1, "truncated: the head counts 6"),
    "reordered": (_SWAP, 3, "hash wrong: it does not follow"),
    "reordered, all hashes recomputed": (_SWAP + ";" + _RECOMPUTE_ALL, 4, "moved: it is in"),
    "forged": (_FORGED, 4, "hash wrong: it does not follow the previous record, or that one was replaced"),
    "forged, all hashes recomputed": (_FORGED + _RECOMPUTE_ALL, 6, "hash wrong: the head of the chain"),
    "head cut": ("UPDATE audit_chains SET records = 5", 6, "added: the head counts 5"),
    "head gone": ("DELETE FROM audit_chains WHERE account = 'acme'", 1, "missing: the head"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_fault_is_named_when_an_owner_changed_the_log(
    empty: ReportingDriver, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    statements, number, words = TAMPERINGS[name]
    await append(empty, [decision("acme", number) for number in range(6)])
    await append(empty, [decision("globex", number) for number in range(2)])
    async with connect(as_owner(dsn_of(empty))) as owner:
        await owner.execute(statements)
    assert await verify(empty, "acme") == 1
    assert f"acme: BROKEN at record {number}: {words}" in capsys.readouterr().out
    assert await verify(empty) == 1
    assert "acme: BROKEN" in capsys.readouterr().out


async def test_other_chains_are_verified_when_one_is_broken(
    empty: ReportingDriver, capsys: pytest.CaptureFixture[str]
) -> None:
    await append(empty, [decision(account) for account in ("acme", "globex", "new\nline") for _ in range(2)])
    async with connect(as_owner(dsn_of(empty))) as owner:
        await owner.execute("DELETE FROM audit_log WHERE account = 'globex' AND chain_sequence = 1")
    assert await verify(empty) == 1
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("acme: 2 records, ")
    assert output[1].startswith("globex: BROKEN at record 1: missing")
    assert output[2].startswith("'new\\nline': 2 records, ")
    assert output[3] == "1 of 3 chains are broken"
    assert await verify(empty, "acme") == 0
    assert await verify(empty, "nobody") == 2


async def test_progress_is_printed_when_a_chain_is_long(
    empty: ReportingDriver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await append(empty, [decision("acme") for _ in range(250)])
    monkeypatch.setattr(verification, "PROGRESS_RECORDS", 100)
    assert await verify(empty) == 0
    assert capsys.readouterr().err.splitlines() == ["acme: 100 of 250 records", "acme: 200 of 250 records"]


FORBIDDEN = [
    *(
        f"{change.format(table)}"
        for table in ("audit_log", "audit_chains")
        for change in (
            "UPDATE {} SET account = 'x'",
            "UPDATE {} SET hash = sha256('x') WHERE false",
            "DELETE FROM {}",
            "TRUNCATE {}",
            "ALTER TABLE {} DISABLE TRIGGER ALL",
            "ALTER TABLE {} DROP COLUMN hash",
            "ALTER TABLE {} OWNER TO CURRENT_USER",
            "DROP TABLE {}",
            "CREATE TRIGGER mine BEFORE INSERT ON {} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "CREATE RULE mine AS ON INSERT TO {} DO INSTEAD NOTHING",
            "SELECT FROM {} FOR UPDATE",
        )
    ),
    "INSERT INTO audit_chains VALUES ('x', 0, sha256('x'))",
    "INSERT INTO audit_log (event_id) VALUES ('x')",
    "DROP FUNCTION append_audit",
    "ALTER FUNCTION append_audit SECURITY INVOKER",
    "CREATE OR REPLACE FUNCTION append_audit(event_ids text[], sources text[], records text[]) RETURNS void"
    " LANGUAGE sql AS ''",
    "SET session_replication_role = replica",
    "CREATE TABLE public.audit_log_of_mine (id int)",
]


async def test_log_cannot_be_changed_by_the_role_of_the_service(empty: ReportingDriver) -> None:
    await append(empty, [decision("acme")])
    async with empty.runtime.pool.acquire() as connection:
        for statement in FORBIDDEN:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        owner = await connection.fetchval("SELECT relowner::regrole::text FROM pg_class WHERE relname = 'audit_log'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"SET ROLE {owner}")
        await connection.execute("GRANT ALL ON audit_log, audit_chains TO CURRENT_USER")  # warns, and grants nothing
        for table in ("audit_log", "audit_chains"):
            rights = "SELECT has_table_privilege($1, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES, MAINTAIN')"
            assert await connection.fetchval(rights, table) is False
    assert await verify(empty) == 0


async def test_append_ignores_temporary_objects_and_the_search_path_of_the_session(empty: ReportingDriver) -> None:
    """The function reads and calls its owner's objects only."""
    async with empty.runtime.pool.acquire() as connection:
        await connection.execute(
            "CREATE TEMPORARY TABLE audit_chains (account text PRIMARY KEY, records bigint, hash bytea)"
        )
        await connection.execute("CREATE TEMPORARY TABLE audit_log (LIKE public.audit_log)")
        await connection.execute(
            "CREATE FUNCTION pg_temp.audit_hash(bytea, bigint, text, text, text) RETURNS bytea RETURN sha256('x')"
        )
        await connection.execute("SET search_path = pg_temp, public; SET timezone = 'Asia/Tokyo'")
        await connection.execute(
            "SELECT public.append_audit($1, $2, $3)", ["e-1"], ["/s"], [decision("acme").data.record.model_dump_json()]
        )
        assert await connection.fetchval("SELECT count(*) FROM public.audit_log") == 1
        await connection.execute("RESET ALL; DISCARD TEMP")
    assert await verify(empty) == 0


async def test_records_are_chained_in_order_when_they_are_older_than_the_chains(
    database: MakeDatabase, tmp_path: Path, empty: ReportingDriver
) -> None:
    for number in (1, 2, 3):
        [file] = MIGRATIONS.glob(f"{number:04}_*.sql")
        (tmp_path / file.name).write_text(file.read_text())
    dsn = await database("reporting", tmp_path)  # type: ignore[call-arg]
    events = [decision(account, number) for number in range(5) for account in ("globex", "acme")]
    async with connect(dsn) as service, connect(as_owner(dsn)) as owner:
        for one in events:
            record = one.data.record
            await service.execute(
                "INSERT INTO audit_log (event_id, source, at, account, subscription, actor, action, outcome, record)"
                " VALUES ($1, '/old', $2, $3, NULL, $4, 'allocate', 'allowed', $5)",
                *(one.id, record.at, record.account, record.actor, record.model_dump_json()),
            )
        before = await service.fetch("SELECT sequence, event_id, at, account, actor, record FROM audit_log ORDER BY 1")
        migrations = load_migrations("reporting", MIGRATIONS)
        await migrate(owner, migrations, Access("test_reporting", definition().read_only))
        after = "SELECT sequence, event_id, at, account, actor, record FROM audit_log ORDER BY 1 LIMIT 10"
        await insert_audit(service, *events, decision("acme"), decision("new"))
        assert await service.fetch(after) == before
        rows = await service.fetch("SELECT * FROM audit_log WHERE account = 'acme' ORDER BY chain_sequence")
    previous = START
    for number, row in enumerate(rows, start=1):
        place = row["previous_hash"], row["chain_sequence"], row["event_id"], row["source"], row["recorded"]
        assert place[:2] == (previous, number)
        assert row["hash"] == link_hash(*place)
        previous = row["hash"]
    assert [row["event_id"] for row in rows][:5] == [one.id for one in events if one.data.record.account == "acme"]
    assert len(rows) == 6
    settings = empty.runtime.settings.model_copy(
        update={"database_url": type(empty.runtime.settings.database_url)(dsn)}
    )
    assert await verification.verify(settings, Namespace(account=None)) == 0


async def test_verify_audit_exits_with_its_code(empty: ReportingDriver) -> None:
    await append(empty, [decision("acme", number) for number in range(3)])

    async def run(*arguments: str, dsn: str = dsn_of(empty)) -> tuple[int, str]:
        env = {**os.environ, **service_env("reporting", dsn=dsn, kafka="localhost:1")}
        command = [sys.executable, "-m", "services.reporting", "verify-audit", *arguments]
        done: Any = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    whole, missing, nowhere = await asyncio.gather(
        run(), run("--account", "nobody"), run(dsn="postgresql://test_reporting:wrong@127.0.0.1:1/nowhere")
    )
    assert (whole[0], missing[0], nowhere[0]) == (0, 2, 2)
    assert "1 chains, 3 records: all whole" in whole[1]
    assert "the audit log cannot be verified: " in nowhere[1]
    async with connect(as_owner(dsn_of(empty))) as owner:
        await owner.execute("DELETE FROM audit_log WHERE chain_sequence = 2")
    code, output = await run("--account", "acme")
    assert (code, "BROKEN at record 2: missing" in output) == (1, True)


async def test_migrate_warns_when_the_service_role_owns_its_tables(database: MakeDatabase) -> None:
    dsn = await database("reporting")

    async def migrated(service: str) -> str:
        env = service_env("reporting", dsn=service, kafka="localhost:1", migrate_database_url=as_owner(dsn))
        command = [sys.executable, "-m", "services.reporting", "migrate"]
        done: Any = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=True
        )
        return str(done.stdout)

    apart, one = await asyncio.gather(migrated(dsn), migrated(as_owner(dsn)))
    assert "nothing keeps it from changing" not in apart
    assert "its role owns its tables, so nothing keeps it from changing audit_log, audit_chains" in one


async def test_record_is_shown_as_it_was_hashed(empty: ReportingDriver) -> None:
    one = decision("acme", 7)
    await empty.apply(one, one)
    [shown] = (await empty.get("/v1/audit"))["items"]
    assert shown["after"] == one.data.record.after
    async with empty.runtime.pool.acquire() as connection:
        [row] = await connection.fetch("SELECT recorded, record FROM audit_log")
    assert row["recorded"] == one.data.record.model_dump_json()
    assert json.loads(row["recorded"]) == json.loads(row["record"])
