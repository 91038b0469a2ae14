"""The audit report: what the API shows, and a file that proves itself."""

import json
from argparse import Namespace
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.reporting.domain.reports.audit import COLUMNS
from services.reporting.domain.reports.columns import Row
from services.reporting.domain.reports.definitions import TABLE_FORMATS, Format
from services.reporting.verification import chains
from services.reporting.verification.files import verify_file
from shared.events.envelope import rfc3339
from tests.support.builders.audit_files import write_file
from tests.support.builders.people import person_id
from tests.support.builders.published import AUDITOR, NOW, PRIMARY, START, VENDOR, VIEWER
from tests.support.builders.reports import OTHER, THERE, recorded, states
from tests.support.drivers.report_rows import read_objects, read_rows, report_request
from tests.support.drivers.reporting import ReportingDriver
from tests.support.servers.databases import as_owner, connect


@pytest.fixture
async def logged(empty: ReportingDriver) -> ReportingDriver:
    """Fill the audit log of three accounts."""
    await empty.apply(*states())
    return empty


async def entries(driver: ReportingDriver, who: str, query: str = "") -> list[dict[str, Any]]:
    """List what the API shows, oldest first."""
    found: list[dict[str, Any]] = []
    path: str | None = f"/v1/audit?limit=3&{query}"
    while path:
        page = await driver.get(path, who)
        found += page["items"]
        path = page["next_cursor"] and f"/v1/audit?limit=3&{query}&cursor={page['next_cursor']}"
    return found[::-1]


def named(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as objects."""
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


QUERIES: list[dict[str, str]] = [
    {},
    {"subscription": "sub-1"},
    {"outcome": "denied"},
    {"action": "set-role-member"},
    {"actor": PRIMARY},
    {"actor": "system"},
    {"from": rfc3339(START + timedelta(hours=3)), "to": rfc3339(START + timedelta(hours=7))},
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("who", [VENDOR, PRIMARY, AUDITOR, THERE])
async def test_rows_are_what_the_api_shows(logged: ReportingDriver, who: str, query: dict[str, str]) -> None:
    if who == THERE and "subscription" in query:
        query = {"subscription": "sub-2"}
    shown = await entries(logged, who, "&".join(f"{name}={value}" for name, value in query.items()))
    rows = named(await read_rows(logged, report_request("audit", who, parameters=query), [2]))
    assert rows or (who == THERE and query)
    by_account = sorted(shown, key=lambda one: one["account"])
    same = ("account", "subscription", "actor", "address", "action", "object", "outcome", "reason", "correlation_id")
    assert [{name: row[name] for name in same} for row in rows] == [
        {name: one[name] for name in same} for one in by_account
    ]
    for row, one in zip(rows, by_account, strict=True):
        assert rfc3339(row["at"]) == one["at"]
        for state in ("before", "after"):
            assert (None if row[state] is None else json.loads(row[state])) == one[state]


async def test_a_row_has_the_recorded_text_with_its_hashes(logged: ReportingDriver) -> None:
    rows = await read_objects(logged, "audit")
    async with logged.runtime.pool.acquire() as connection:
        stored = await connection.fetch(
            "SELECT account, chain_sequence, event_id, source, previous_hash, hash, recorded "
            "FROM audit_log ORDER BY account, chain_sequence"
        )
    assert len(rows) == len(stored) == 11
    for row, one in zip(rows, stored, strict=True):
        assert (row["account"], row["number"], row["event"], row["source"]) == tuple(one)[:4]
        assert (row["previous_hash"], row["hash"]) == (one["previous_hash"].hex(), one["hash"].hex())
        assert row["recorded"] == one["recorded"]
    (sealed,) = [row for row in rows if row["object"] == "export/audit"]
    assert sealed["reason"] == "=HYPERLINK()"
    assert "HYPERLINK" not in str(sealed["recorded"]), "what was sealed stays sealed"
    assert {row["outcome"] for row in rows} == {"allowed", "denied"}


@pytest.mark.parametrize("format", TABLE_FORMATS)
async def test_a_file_of_the_whole_log_is_verified_as_the_log_is(
    logged: ReportingDriver, tmp_path: Path, capsys: pytest.CaptureFixture[str], format: Format
) -> None:
    rows = await read_rows(logged, report_request("audit"), [4])
    assert verify_file(write_file(tmp_path / "audit", format, rows, flavour="spreadsheet")) == 0
    file = capsys.readouterr().out.splitlines()
    assert await chains.verify(logged.runtime.settings, Namespace(account=None)) == 0
    log = capsys.readouterr().out.splitlines()
    assert [line.rsplit(" ", 1)[1] for line in file[:-1]] == [line.rsplit(" ", 1)[1] for line in log[:-1]]
    assert [line.split(",")[0] for line in file[:-1]] == [line.split(",")[0] for line in log[:-1]]


@pytest.mark.parametrize(("who", "gaps"), [(AUDITOR, "2, 5"), (PRIMARY, "2, 5"), (THERE, "1, 3;")])
async def test_a_file_of_who_sees_some_records_names_the_others(
    logged: ReportingDriver, tmp_path: Path, capsys: pytest.CaptureFixture[str], who: str, gaps: str
) -> None:
    rows = await read_rows(logged, report_request("audit", who))
    assert verify_file(write_file(tmp_path / "audit", "csv", rows)) == 0
    assert f"not in the file: {gaps}" in capsys.readouterr().out


async def test_hidden_people_are_not_named_by_a_recorded_text(logged: ReportingDriver) -> None:
    """Tom is a member, and in a subscription that the auditor does not see."""
    rows = await read_objects(logged, "audit", AUDITOR)
    (role,) = [row for row in rows if row["action"] == "set-role-member"]
    assert role["recorded"] is None
    assert json.loads(str(role["after"]))["members"] == [VIEWER]
    for text in (THERE, person_id(THERE)):
        assert all(text not in str(row) for row in rows), text
    (whole,) = [row for row in await read_objects(logged, "audit") if row["action"] == "set-role-member"]
    assert person_id(THERE) in str(whole["recorded"])


async def test_the_log_as_of_an_instant_ends_there(logged: ReportingDriver) -> None:
    rows = await read_objects(logged, "audit", as_of=START + timedelta(hours=6))
    assert len(rows) == 6
    assert [row["last"] for row in rows] == [False] * 5 + [True]
    assert await read_objects(logged, "audit", as_of=START) == []


async def test_records_that_are_appended_meanwhile_change_no_row(logged: ReportingDriver) -> None:
    """They come between two steps of a request; they are later than its instant."""
    request = report_request("audit")
    before = await read_rows(logged, request, [2])
    for number in range(3):
        await logged.apply(
            recorded(200 + number, at=NOW + timedelta(seconds=1), account=("acme", "globex", "aaa")[number])
        )
    assert await read_rows(logged, request, [2]) == before


async def test_people_of_another_account_see_their_own_chain(logged: ReportingDriver) -> None:
    assert [row["account"] for row in await read_objects(logged, "audit", OTHER)] == ["globex"]
    assert await read_objects(logged, "audit", VENDOR, account="vendor") != []
    assert {row["account"] for row in await read_objects(logged, "audit", VENDOR, account="vendor")} == {"vendor"}


_SET = "UPDATE audit_log SET {} WHERE account = 'acme' AND chain_sequence = 3"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("recorded = replace(recorded, 'denied', 'allowed')", "changed: its hash is not that of its event"),
        ("action = 'other'", "changed: its cell action is not what was recorded"),
        ("previous_hash = sha256('x')", "changed: its hash is not that"),
    ],
)
async def test_an_exported_file_shows_that_the_log_was_changed(
    logged: ReportingDriver, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, words: str
) -> None:
    async with connect(as_owner(logged.runtime.settings.database_url.get_secret_value())) as owner:
        await owner.execute(_SET.format(change))
    rows = await read_rows(logged, report_request("audit"))
    assert verify_file(write_file(tmp_path / "audit", "csv", rows)) == 1
    assert f"BROKEN at row 3, record 3 of acme: {words}" in capsys.readouterr().out
