"""Exports: requests, limits, rights, downloads, links, expiry and erasure."""

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from shared.events.commands.accounts import IntroducePerson
from shared.events.envelope import by_type, decode
from shared.events.outcomes import AuditRecord, DecisionRecorded
from shared.runtime.delivery import outbox
from shared.runtime.records import Record
from tests.conftest import MakeDatabase
from tests.support.builders.numbered_rows import numbered
from tests.support.builders.people import person_id
from tests.support.builders.published import (
    ALLOCATOR,
    AUDITOR,
    PRIMARY,
    STRANGER,
    USERADMIN,
    VENDOR,
    VIEWER,
    account,
    created,
    subscription,
)
from tests.support.drivers.exports import ExportDriver, exporting
from tests.support.servers.token_issuer import Issuer

ACME = {"subscription": "sub-1"}


@pytest.fixture
async def exports(database: MakeDatabase, shared_issuer: Issuer, tmp_path: Path) -> AsyncIterator[ExportDriver]:
    """Start reporting with a storage."""
    async with exporting(await database("reporting"), shared_issuer, tmp_path / "exports") as driver:
        yield driver


async def audited(exports: ExportDriver) -> list[AuditRecord]:
    """The audit records of exports in the outbox."""
    async with exports.reporting.runtime.pool.acquire() as connection:
        rows = await outbox.load(connection, 100)
    events = [decode(one.value, by_type([DecisionRecorded])) for _, one in rows if one.value is not None]
    return [one.data.record for one in events if one is not None]


def table(answer: httpx.Response) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_an_export_is_requested_made_and_downloaded(exports: ExportDriver) -> None:
    answer = await exports.ask(PRIMARY, params=ACME)
    assert answer.status_code == 202, answer.text
    queued = answer.json()
    assert answer.headers["Location"] == f"/v1/exports/{queued['id']}"
    assert (queued["state"], queued["rows_done"], queued["rows_expected"]) == ("queued", 0, None)
    assert (queued["file"], queued["link"], queued["params"]) == (None, None, ACME)
    assert (await exports.file(queued["id"], PRIMARY)).status_code == 404, "there is no file yet"

    assert await exports.worker().work_on_one()
    done = await exports.shown(queued["id"], PRIMARY)
    assert (done["state"], done["rows_done"], done["rows_expected"]) == ("succeeded", 1, 1)
    file = await exports.file(queued["id"], PRIMARY)
    assert [(row["subscription"], row["units"]) for row in table(file)] == [("sub-1", "1000")]
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.headers["content-disposition"] == f'attachment; filename="{done["file"]["name"]}"'
    assert done["file"]["name"] == "purchases-20260220T030000Z.csv"
    assert int(file.headers["content-length"]) == done["file"]["bytes"] == len(file.content)
    assert file.headers["x-content-type-options"] == "nosniff"
    assert file.headers["cache-control"] == "no-store"

    assert [one["id"] for one in (await exports.reporting.get("/v1/exports", PRIMARY))["items"]] == [queued["id"]]
    asked, downloaded = await audited(exports)
    assert (asked.action, downloaded.action) == ("export", "download-export")
    assert (asked.actor, asked.account, asked.subscription) == (person_id(PRIMARY), "acme", "sub-1")
    assert asked.after == {"report": "purchases", "format": "csv", "as_of": queued["as_of"], "parameters": ACME}
    assert {one.object for one in (asked, downloaded)} == {f"export/{queued['id']}"}


@pytest.mark.parametrize("format", ["csv", "ndjson", "json", "xlsx", "parquet"])
async def test_every_format_is_made_of_real_rows(exports: ExportDriver, format: str) -> None:
    file = await exports.made(exports.worker(), report="roles-and-permissions", format=format)
    assert len(file.content) > 200


async def test_an_export_of_commitments_has_its_metadata_beside_it(exports: ExportDriver) -> None:
    queued = await exports.queue(PRIMARY, report="focus-commitments", params=ACME)
    path = f"/v1/exports/{queued}/metadata"
    assert (await exports.reporting.ask("GET", path, PRIMARY)).status_code == 404, "it is not made yet"
    assert await exports.worker().work_on_one()
    metadata = await exports.reporting.get(path, PRIMARY)
    assert metadata["DatasetInstance"][0]["DatasetInstanceId"] == queued
    assert metadata["Recency"][0]["DatasetInstanceLastUpdated"] == (await exports.shown(queued, PRIMARY))["as_of"]
    assert (await exports.reporting.ask("GET", path, STRANGER)).status_code == 404
    other = await exports.queue(PRIMARY, params=ACME)
    assert await exports.worker().work_on_one()
    assert (await exports.reporting.ask("GET", f"/v1/exports/{other}/metadata", PRIMARY)).status_code == 404


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"report": "nonsense"}, "report"),
    ({"format": "docx"}, "format"),
    ({"format": "pdf"}, "format"),
    ({"params": {"colour": "red"}}, "params.colour"),
    ({"params": {"subscription": "No Id"}}, "params.subscription"),
    ({"params": {"subscription": 5}}, "params.subscription"),
    ({"params": {"flavour": "vanilla"}}, "params.flavour"),
    ({"report": "usage-by-window", "params": {"from": "yesterday"}}, "params.from"),
    ({"as_of": "2099-01-01T00:00:00Z"}, "as_of"),
    ({"as_of": "2026-02-01"}, "as_of"),
    ({"as_of": 5}, "as_of"),
    ({"report": "quarantine", "as_of": "2026-02-01T00:00:00Z"}, "as_of"),
    ({"more": 1}, "more"),
]


@pytest.mark.parametrize(("body", "field"), INVALID)
async def test_an_invalid_request_names_the_field(exports: ExportDriver, body: dict[str, Any], field: str) -> None:
    answer = await exports.ask(**body)
    assert answer.status_code == 422, answer.text
    assert [one["field"] for one in answer.json()["errors"]] == [field]
    assert await exports.rows("SELECT 1 FROM exports") == []


async def test_only_those_who_may_read_a_report_may_export_it(exports: ExportDriver) -> None:
    for who, body, code in (
        (STRANGER, {"params": ACME}, "not_found"),
        (STRANGER, {}, "forbidden"),
        (USERADMIN, {"params": ACME}, "forbidden"),
        (VIEWER, {"report": "audit", "params": ACME}, "forbidden"),
        (PRIMARY, {"report": "quarantine"}, "forbidden"),
        (PRIMARY, {"params": {"account": "globex"}}, "not_found"),
    ):
        answer = await exports.ask(who, **body)
        assert answer.json()["code"] == code, (who, body, answer.text)
    records = await audited(exports)
    assert [(one.action, one.outcome) for one in records] == [("export", "denied")] * 6
    assert records[0].actor == person_id(STRANGER)
    assert records[0].reason == "not_found"
    for who in (VIEWER, ALLOCATOR, AUDITOR, PRIMARY, VENDOR):
        await exports.queue(who, params=ACME)


async def test_an_address_among_the_parameters_is_neither_stored_nor_audited_in_the_clear(
    exports: ExportDriver,
) -> None:
    export = await exports.queue(report="audit", params={"actor": PRIMARY, "account": "acme"})
    assert (await exports.shown(export))["params"] == {"actor": PRIMARY, "account": "acme"}
    stored = str(await exports.rows("SELECT * FROM exports"))
    (record,) = await audited(exports)
    assert "acme" in stored
    assert PRIMARY not in stored
    assert PRIMARY not in record.model_dump_json()
    assert await exports.worker().work_on_one()
    assert (await exports.shown(export))["state"] == "succeeded"


async def test_the_same_request_within_ten_minutes_is_the_same_export(exports: ExportDriver) -> None:
    first = await exports.queue(PRIMARY, params=ACME)
    assert await exports.queue(PRIMARY, params=ACME) == first
    assert await exports.queue(PRIMARY, params=ACME, format="json") != first
    assert await exports.queue(PRIMARY) != first
    assert await exports.queue(PRIMARY, params=ACME, as_of="2026-02-01T00:00:00Z") != first
    assert await exports.queue(VIEWER, params=ACME) != first, "another person's"
    exports.clock.move(minutes=9)
    assert await exports.queue(PRIMARY, params=ACME) == first
    exports.clock.move(minutes=2)
    assert await exports.queue(PRIMARY, params=ACME) != first
    assert len(await audited(exports)) == 6, "a repeat is not another export"


async def test_a_repeated_key_is_the_same_export_and_another_request_with_it_is_refused(exports: ExportDriver) -> None:
    key = str(uuid4())
    first = await exports.queue(PRIMARY, params=ACME, key=key)
    exports.clock.move(hours=5)
    assert await exports.queue(PRIMARY, params=ACME, key=key) == first
    answer = await exports.ask(PRIMARY, params=ACME, key=key, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")
    assert await exports.queue(VIEWER, params=ACME, key=key) != first


async def test_an_account_has_twenty_unfinished_exports_and_the_vendor_too(exports: ExportDriver) -> None:
    async def fill(who: str, count: int) -> None:
        for number in range(count):
            await exports.queue(who, params=ACME, as_of=f"2026-02-01T00:00:{number:02d}Z")

    await fill(PRIMARY, 12)
    await fill(VIEWER, 8)
    refused = await exports.ask(ALLOCATOR, params=ACME)
    assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")
    assert (refused.json()["code"], refused.json()["limit"]) == ("limit_reached", 20)
    await fill(VENDOR, 20)
    assert (await exports.ask(params=ACME)).json()["code"] == "limit_reached"

    (first, *_) = (await exports.reporting.get("/v1/exports?limit=1", PRIMARY))["items"]
    assert (await exports.reporting.ask("DELETE", f"/v1/exports/{first['id']}", PRIMARY)).json()["state"] == "cancelled"
    await exports.queue(ALLOCATOR, params=ACME)


async def test_too_many_requests_of_one_person_concern_only_them(
    database: MakeDatabase, shared_issuer: Issuer, tmp_path: Path
) -> None:
    async with exporting(
        await database("reporting"), shared_issuer, tmp_path, export_requests_per_minute=2, downloads_per_minute=2
    ) as exports:
        file = await exports.made(exports.worker(), PRIMARY, params=ACME)
        export = str(file.request.url).split("/")[-2]
        await exports.queue(PRIMARY, params=ACME)
        answer = await exports.ask(PRIMARY, params=ACME)
        assert (answer.status_code, "Retry-After" in answer.headers) == (429, True)
        await exports.queue(VIEWER, params=ACME)
        assert [(await exports.file(export, PRIMARY)).status_code for _ in range(2)] == [200, 429]


async def test_exports_are_of_who_requested_them(exports: ExportDriver) -> None:
    export = await exports.queue(PRIMARY, params=ACME)
    await exports.worker().work_on_one()
    for who in (VENDOR, VIEWER, STRANGER):
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/file")):
            answer = await exports.reporting.ask(method, f"/v1/exports/{export}{path}", who)
            assert answer.status_code == 404, (who, method, path)
        assert (await exports.reporting.get("/v1/exports", who))["items"] == []
    assert (await exports.shown(export, PRIMARY))["state"] == "succeeded"


async def test_lists_are_paged_and_filtered(exports: ExportDriver) -> None:
    made = []
    for number in range(5):
        made.append(await exports.queue(PRIMARY, params=ACME, as_of=f"2026-02-01T00:00:{number:02d}Z"))
        exports.clock.move(seconds=1)
    other = await exports.queue(PRIMARY, report="overage", params=ACME)
    found, path = [], "/v1/exports?limit=2&report=purchases"
    while path:
        page = await exports.reporting.get(path, PRIMARY)
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        path = f"/v1/exports?limit=2&report=purchases&cursor={cursor}" if cursor else ""
    assert found == made[::-1]
    assert other not in found


async def by_link(exports: ExportDriver, url: str, who: str | None = None) -> httpx.Response:
    """Request a link's address, with or without a token."""
    if who is not None:
        return await exports.reporting.ask("GET", url, who)
    return await exports.reporting.http.get(url)


async def test_a_link_works_for_ten_minutes_without_a_token(exports: ExportDriver) -> None:
    export = await exports.queue(PRIMARY, params=ACME)
    await exports.worker().work_on_one()
    shown = await exports.shown(export, PRIMARY)
    url = shown["link"]["url"]
    assert url.startswith(f"http://localhost:8000/v1/exports/{export}/file?")
    answer = await by_link(exports, url)
    assert answer.status_code == 200
    assert answer.content == (await exports.file(export, PRIMARY)).content
    assert (await audited(exports))[1].actor == person_id(PRIMARY)
    assert (await by_link(exports, url, PRIMARY)).status_code == 200
    exports.clock.move(minutes=9, seconds=59)
    assert (await by_link(exports, url)).status_code == 200
    exports.clock.move(seconds=1)
    assert (await by_link(exports, url)).status_code == 403


async def test_a_link_is_refused_beside_another_person_and_when_it_was_changed(exports: ExportDriver) -> None:
    export, other = await exports.queue(PRIMARY, params=ACME), await exports.queue(VIEWER, params=ACME)
    worker = exports.worker()
    while await worker.work_on_one():
        pass
    url = (await exports.shown(export, PRIMARY))["link"]["url"]
    for who in (VIEWER, VENDOR, STRANGER):
        assert (await by_link(exports, url, who)).status_code == 403
    for changed in (
        url.replace(export, other),
        url[:-1] + ("A" if url[-1] != "A" else "B"),
        url.replace("expires=1", "expires=2"),
        url.replace("signature=", "signature=%C3%A9"),
    ):
        assert changed != url
        assert (await by_link(exports, changed)).status_code == 403, changed
    assert (await exports.reporting.http.get(f"/v1/exports/{export}/file")).status_code == 401
    assert (await by_link(exports, url)).status_code == 200


async def test_ranges_and_conditions_of_a_download(exports: ExportDriver) -> None:
    whole = await exports.made(exports.worker(numbered(30)), PRIMARY, params=ACME)
    export, size, tag = str(whole.request.url).split("/")[-2], len(whole.content), whole.headers["etag"]

    async def ask(**headers: str) -> httpx.Response:
        return await exports.file(export, PRIMARY, **headers)

    for asked, start, end in (
        ("bytes=0-9", 0, 9),
        ("bytes=5-", 5, size - 1),
        ("bytes=-7", size - 7, size - 1),
        (f"bytes=3-{size + 50}", 3, size - 1),
        ("bytes=0-", 0, size - 1),
        (f"bytes=-{size * 2}", 0, size - 1),
    ):
        part = await ask(Range=asked)
        assert (part.status_code, part.content) == (206, whole.content[start : end + 1]), asked
        assert part.headers["content-range"] == f"bytes {start}-{end}/{size}"
        assert int(part.headers["content-length"]) == end - start + 1
    for asked in (f"bytes={size}-", "bytes=-0"):
        beyond = await ask(Range=asked)
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}"), asked
        assert beyond.json()["code"] == "range_not_satisfiable"
    for asked in ("bytes=0-1,5-6", "lines=1-2", "bytes=9-3", "bytes=-", "nonsense"):
        ignored = await ask(Range=asked)
        assert (ignored.status_code, ignored.content) == (200, whole.content), asked
    assert (await ask(Range="bytes=0-9", **{"If-Range": tag})).status_code == 206
    assert (await ask(Range="bytes=0-9", **{"If-Range": '"other"'})).status_code == 200
    for given, status in ((tag, 304), (f'"a", {tag}', 304), (f"W/{tag}", 304), ("*", 304), ('"other"', 200)):
        assert (await ask(**{"If-None-Match": given})).status_code == status, given
    head = await exports.reporting.ask("HEAD", f"/v1/exports/{export}/file", PRIMARY)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))


async def test_who_lost_their_role_gets_no_file_and_no_new_one(exports: ExportDriver) -> None:
    made = await exports.queue(VIEWER, params=ACME)
    exports.clock.move(seconds=1)
    waiting = await exports.queue(VIEWER, params=ACME, format="json")
    worker = exports.worker()
    await worker.work_on_one()
    link = (await exports.shown(made, VIEWER))["link"]["url"]
    state = subscription(version=2)
    await exports.reporting.apply(created(state.model_copy(update={"grants": ()})))
    await worker.work_on_one()
    failed = await exports.shown(waiting, VIEWER)
    assert failed["state"] == "failed"
    assert failed["failure"].startswith("You may not read this report any more.")
    assert (await exports.file(made, VIEWER)).status_code == 404
    assert (await by_link(exports, link)).status_code == 404
    assert [one.outcome for one in await audited(exports)] == ["allowed", "allowed", "denied", "denied"]


async def test_a_former_vendor_operator_gets_no_file(exports: ExportDriver) -> None:
    made = await exports.queue(report="quarantine")
    worker = exports.worker()
    await worker.work_on_one()
    waiting = await exports.queue(report="reconciliation")
    link = (await exports.shown(made))["link"]["url"]
    exports.clock.move(seconds=2)
    token = exports.reporting.issuer.token(VENDOR, vendor=False)
    await exports.reporting.http.get("/v1/me", headers={"authorization": f"Bearer {token}"})
    await exports.rows("UPDATE issuer_words SET vendor = false")
    await worker.work_on_one()
    assert (await exports.rows("SELECT state FROM exports WHERE id = $1", waiting)) == [{"state": "failed"}]
    assert (await by_link(exports, link)).status_code == 403


async def test_a_person_who_is_not_known_is_introduced_first(exports: ExportDriver) -> None:
    newcomer = "nina@unitpool.example"
    token = exports.reporting.issuer.token(newcomer, vendor=True)
    answer = await exports.reporting.http.post(
        "/v1/exports",
        json={"report": "purchases", "format": "csv"},
        headers={"authorization": f"Bearer {token}"},
    )
    assert answer.json()["code"] == "unavailable", "allocation does not answer in this test"
    (sent,) = await exports.reporting.sent()
    assert isinstance(sent.command.data, IntroducePerson)
    assert await exports.rows("SELECT 1 FROM exports") == []


async def test_a_file_is_kept_for_seven_days(exports: ExportDriver) -> None:
    export = await exports.queue(PRIMARY, params=ACME)
    await exports.worker().work_on_one()
    await exports.clean()
    assert [one.split("/")[1].split("-")[0] for one in exports.stored()] == ["file"], "its parts are deleted"
    exports.clock.move(days=6, hours=23)
    await exports.clean()
    assert (await exports.file(export, PRIMARY)).status_code == 200
    exports.clock.move(hours=2)
    assert (await exports.shown(export, PRIMARY))["state"] == "expired", "even if no worker runs"
    assert (await exports.file(export, PRIMARY)).status_code == 404
    await exports.clean()
    assert exports.stored() == []
    exports.clock.move(days=30)
    await exports.clean()
    assert await exports.rows("SELECT 1 FROM exports") == []


async def test_a_finished_export_can_be_deleted_early(exports: ExportDriver) -> None:
    export = await exports.queue(PRIMARY, params=ACME)
    await exports.worker().work_on_one()
    answer = await exports.reporting.ask("DELETE", f"/v1/exports/{export}", PRIMARY)
    assert (answer.status_code, answer.json()["state"], answer.json()["link"]) == (200, "expired", None)
    assert (await exports.file(export, PRIMARY)).status_code == 404
    await exports.clean()
    assert exports.stored() == []


async def test_files_that_may_name_an_erased_person_are_deleted(exports: ExportDriver) -> None:
    await exports.reporting.apply(account("globex"))
    worker = exports.worker()
    named = await exports.queue(PRIMARY, report="roles-and-permissions", params=ACME)
    by_vendor = await exports.queue(report="roles-and-permissions")
    elsewhere = await exports.queue(report="roles-and-permissions", params={"account": "globex"})
    nameless = await exports.queue(PRIMARY, report="usage-by-window", params=ACME)
    own = await exports.queue(ALLOCATOR, report="usage-by-window", params=ACME)
    while await worker.work_on_one():
        pass
    unfinished = await exports.queue(PRIMARY, report="roles-and-permissions", params=ACME, format="json")
    await erase(exports)
    states = {row["id"]: row["state"] for row in await exports.rows("SELECT id, state FROM exports")}
    assert states == {
        named: "expired",
        by_vendor: "expired",
        elsewhere: "succeeded",
        nameless: "succeeded",
        own: "expired",
        unfinished: "queued",
    }
    confirmed = [one for one in await audited(exports) if one.action == "confirm-erasure"]
    assert [one.after for one in confirmed] == [{"service": "reporting", "sessions": 0, "exports": 3}]
    await exports.clean()
    assert {one.split("/")[0] for one in exports.stored()} == {elsewhere, nameless}


async def erase(exports: ExportDriver) -> None:
    """Apply the tombstone of the allocator."""
    key = person_id(ALLOCATOR).encode()
    await exports.reporting.read_people(Record("allocation.people", 0, 0, key, None, (), exports.clock.now))


async def test_an_export_that_may_name_an_erased_person_begins_again(exports: ExportDriver) -> None:
    export = await exports.queue(PRIMARY, report="roles-and-permissions", params=ACME, format="ndjson")

    class StopError(Exception):
        pass

    def stop(point: str) -> None:
        if point == "part_saved":
            raise StopError

    await exports.worker(reached=stop).work_on_one()
    assert len(await exports.rows("SELECT 1 FROM export_parts")) == 1
    await erase(exports)
    assert await exports.rows("SELECT 1 FROM export_parts") == []
    await exports.worker().work_on_one()
    assert ALLOCATOR not in (await exports.file(export, PRIMARY)).text


async def test_a_person_sees_their_exports_in_what_is_held_of_them(exports: ExportDriver) -> None:
    export = await exports.queue(PRIMARY, params=ACME)
    held = await exports.reporting.get(f"/v1/people/{person_id(PRIMARY)}/data")
    assert [one["id"] for one in held["exports"]] == [export]
