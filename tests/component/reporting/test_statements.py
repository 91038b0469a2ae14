"""Statements as of a past instant, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pypdfium2  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.reporting.background import PARTS
from services.reporting.store.consumption_revisions import load_revisions_at
from services.reporting.store.subscription_batches import Span
from shared.events.allocation import LotVoided, ProductChanged
from shared.events.metering import ConsumptionSnapshot
from tests.conftest import MakeDatabase
from tests.support.builders.published import (
    ALLOCATOR,
    AUDITOR,
    PRIMARY,
    START,
    STRANGER,
    USERADMIN,
    VENDOR,
    VIEWER,
    WINDOW,
    account,
    created,
    event,
    lot,
    plan,
    product,
    snapshot,
    subscription,
    team,
)
from tests.support.drivers.exports import MovingClock
from tests.support.drivers.reporting import ReportingDriver, reporting
from tests.support.servers.token_issuer import Issuer

STATEMENT = "/v1/subscriptions/sub-1/statement"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DURING = WINDOW.start + 3 * DAY
"""An instant of the window that is open in these tests."""


@pytest.fixture
def clock() -> MovingClock:
    """Begin in the third day of a window."""
    return MovingClock(DURING)


@pytest.fixture
async def driver(database: MakeDatabase, shared_issuer: Issuer, clock: MovingClock) -> AsyncIterator[ReportingDriver]:
    """Start reporting with a subscription that was recorded at its start."""
    async with reporting(await database("reporting"), shared_issuer, clock=clock) as started:
        first = subscription()
        await started.apply(*(event(one, time=START) for one in (account(), product(), *team(), created(first))))
        yield started


def text(at: datetime) -> str:
    """A time for a query."""
    return at.isoformat().replace("+00:00", "Z")


async def asked(driver: ReportingDriver, at: datetime, format: str = "json", who: str = VIEWER) -> bytes:
    """Return the bytes of a statement."""
    answer = await driver.ask("GET", f"{STATEMENT}?as_of={text(at)}&format={format}", who)
    assert answer.status_code == 200, answer.text
    return answer.content


async def stated(driver: ReportingDriver, at: datetime) -> dict[str, Any]:
    """Return a statement."""
    answer = await driver.ask("GET", f"{STATEMENT}?as_of={text(at)}", VIEWER)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def change_everything(driver: ReportingDriver, clock: MovingClock) -> None:
    """Restate windows, lower the allocation, void the lot, and rename the product."""
    clock.move(hours=5)
    await driver.measure(snapshot(99, windows_ago=1, revision=9), snapshot(77, revision=9))
    lowered = subscription(version=2, allocated={"scan": 50})
    voided = lot(1000).model_copy(update={"voided_at": clock.now})
    renamed = product(version=2).product.model_copy(update={"name": "Renamed"})
    changes = (
        plan(lowered, 400, 50),
        LotVoided(
            subscription=lowered.model_copy(update={"version": 3, "lots": (voided,)}), lot=voided.id, reason="wrong"
        ),
        ProductChanged(product=renamed, change="created"),
    )
    await driver.apply(*(event(one, time=clock.now) for one in changes))


async def thin(driver: ReportingDriver, now: datetime) -> None:
    """Run the upkeep of what statements are made from."""
    async with driver.runtime.transaction() as tx:
        for part in PARTS:
            if "revisions" in part.name or part.name in {"versions", "statements"}:
                before = now - part.retention
                if owners := await part.find(tx.connection, before, []):
                    await part.delete(tx.connection, before, owners)


async def test_a_statement_has_the_same_bytes_whatever_happens_later(
    driver: ReportingDriver, clock: MovingClock
) -> None:
    await driver.measure(snapshot(40, windows_ago=1), snapshot(10))
    clock.move(hours=2)
    at = clock.now
    made = {kind: await asked(driver, at, kind) for kind in ("json", "pdf")}
    await change_everything(driver, clock)
    assert {kind: await asked(driver, at, kind) for kind in made} == made
    async with driver.runtime.pool.acquire() as connection:
        await connection.execute("DELETE FROM statements")
    assert {kind: await asked(driver, at, kind) for kind in made} == made, "it is made again as it was"
    for days in (50, 250):
        clock.move(days=days)
        await thin(driver, clock.now)
        assert {kind: await asked(driver, at, kind, PRIMARY) for kind in made} == made


async def test_a_statement_is_the_overview_of_its_instant(driver: ReportingDriver, clock: MovingClock) -> None:
    await driver.measure(snapshot(40, windows_ago=1), snapshot(10))
    clock.now = clock.now.replace(minute=0) + HOUR
    at = clock.now
    overview = await driver.get("/v1/subscriptions/sub-1", VIEWER)
    await change_everything(driver, clock)
    statement = await stated(driver, at)
    for name in ("name", "state", "term", "window", "purchased", "allocated", "consumed", "unallocated", "rebalance"):
        assert statement[name] == overview[name], name
    shown = ("product", "name", "allocated", "consumed", "utilisation", "class", "policy", "floor", "meters")
    assert [{name: one[name] for name in shown} for one in statement["products"]] == [
        {name: one[name] for name in shown} for one in overview["products"]
    ]
    assert [one["items"][0]["consumed"] for one in statement["windows"]][-2:] == [40, 10]
    now = await stated(driver, clock.now)
    assert (now["allocated"], now["purchased"], now["products"][0]["name"]) == (50, 0, "Renamed")
    assert now["lots"][0]["voided_at"] is not None
    assert statement["lots"][0]["voided_at"] is None


async def test_usage_counts_from_the_end_of_its_hour_and_a_restatement_at_once(
    driver: ReportingDriver, clock: MovingClock
) -> None:
    clock.now = DURING.replace(hour=9, minute=20)
    await driver.measure(snapshot(10))
    clock.move(minutes=20)
    await driver.measure(snapshot(20, revision=2), snapshot(5, windows_ago=1))
    clock.now = DURING.replace(hour=11)
    consumed = {
        minute: (await stated(driver, DURING.replace(hour=9, minute=minute)))["consumed"] for minute in (19, 30, 59)
    }
    assert consumed == {19: 0, 30: 0, 59: 0}
    assert (await stated(driver, DURING.replace(hour=10)))["consumed"] == 20
    closed = (await stated(driver, DURING.replace(hour=9, minute=45)))["windows"][-2]
    assert closed["items"][0]["consumed"] == 5
    assert closed["items"][0]["figure"]["recorded_at"] == text(DURING.replace(hour=9, minute=40))
    assert (await stated(driver, DURING.replace(hour=9, minute=39)))["windows"][-2]["items"][0]["figure"] is None


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("", "as_of", "required"),
        ("as_of=yesterday", "as_of", "2026"),
        ("as_of=1764000000", "as_of", "text"),
        (f"as_of={text(DURING + DAY)}", "as_of", "future"),
        (f"as_of={text(START - HOUR)}", "as_of", f"is known from {text(START)} on"),
        (f"as_of={text(DURING - 367 * DAY)}", "as_of", "12 months"),
        (f"as_of={text(DURING)}&format=docx", "format", "json"),
    ],
)
async def test_a_wrong_request_names_the_field(driver: ReportingDriver, query: str, field: str, says: str) -> None:
    answer = await driver.ask("GET", f"{STATEMENT}?{query}", VIEWER)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert says in answer.json()["errors"][0]["message"]


async def test_a_statement_is_for_those_who_may_see_units(driver: ReportingDriver) -> None:
    people = (VENDOR, PRIMARY, VIEWER, ALLOCATOR, AUDITOR, USERADMIN, STRANGER)
    answers = [(await driver.ask("GET", f"{STATEMENT}?as_of={text(DURING)}", who)).status_code for who in people]
    assert answers == [200, 200, 200, 200, 200, 403, 404]
    answer = await driver.ask("GET", "/v1/subscriptions/sub-9/statement?as_of=" + text(DURING), VENDOR)
    assert answer.status_code == 404


async def test_a_statement_names_no_person(driver: ReportingDriver) -> None:
    made = (await asked(driver, DURING)).decode()
    assert "@" not in made
    assert "Somebody" not in made


async def test_making_is_audited_once_and_limited_for_each_person(
    database: MakeDatabase, shared_issuer: Issuer, clock: MovingClock
) -> None:
    dsn = await database("reporting")
    async with reporting(dsn, shared_issuer, clock=clock, statements_per_minute=2) as driver:
        await driver.apply(*(event(one, time=START) for one in (account(), product(), *team(), created())))
        path = f"{STATEMENT}?as_of="
        answers = await asyncio.gather(*(driver.ask("GET", path + text(DURING), VIEWER) for _ in range(2)))
        assert len({one.content for one in answers}) == 1
        assert [one.status_code for one in answers] == [200, 200]
        limited = [await driver.ask("GET", path + text(DURING - place * HOUR), VIEWER) for place in (0, 1, 2)]
        assert [one.status_code for one in limited] == [200, 429, 429], "what is there is no making"
        assert (await driver.ask("GET", path + text(DURING - HOUR), PRIMARY)).status_code == 200
        async with driver.runtime.pool.acquire() as connection:
            audited = await connection.fetch("SELECT value FROM outbox WHERE topic = 'audit.events'")
        assert sum(b'"make-statement"' in row["value"] for row in audited) == 2


async def test_an_unchanged_statement_is_not_sent_again(driver: ReportingDriver) -> None:
    first = await driver.ask("GET", f"{STATEMENT}?as_of={text(DURING)}", VIEWER)
    tag = first.headers["etag"]
    again = await driver.ask("GET", f"{STATEMENT}?as_of={text(DURING)}", VIEWER, headers={"if-none-match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert first.headers["cache-control"] == "private, no-cache"


async def test_a_pdf_shows_the_figures(driver: ReportingDriver, clock: MovingClock) -> None:
    await driver.measure(snapshot(40, windows_ago=1), snapshot(1234))
    clock.move(hours=2)
    answer = await driver.ask("GET", f"{STATEMENT}?as_of={text(clock.now)}&format=pdf", VIEWER)
    assert answer.headers["content-type"] == "application/pdf"
    document = pypdfium2.PdfDocument(answer.content)
    shown = "\n".join(page.get_textpage().get_text_range() for page in document).replace("\u200b", "")
    for expected in ("Statement of Acme Flex", "1,234", "PO-1", text(clock.now)):
        assert expected in shown


async def test_no_statement_is_made_while_changes_of_the_subscription_wait(driver: ReportingDriver) -> None:
    async with driver.runtime.pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO set_aside_keys (reader, topic, key, error, next_attempt_at)"
            " VALUES ('reporting', 'allocation.events', 'sub-1', 'poison', now())"
        )
    answer = await driver.ask("GET", f"{STATEMENT}?as_of={text(DURING)}", VIEWER)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


def revision(number: int) -> ConsumptionSnapshot:
    """A revision of the open window."""
    return snapshot(number, revision=number)


@settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 30 * 24 * 60)), min_size=1, max_size=12))
async def test_what_counts_at_an_instant_never_changes(
    driver: ReportingDriver, clock: MovingClock, steps: list[tuple[int, int]]
) -> None:
    """Record revisions at any times; ask for any instant that has passed, after each."""
    known: dict[datetime, list[int]] = {}
    clock.now = WINDOW.start + timedelta(minutes=1)
    async with driver.runtime.pool.acquire() as connection:
        await connection.execute("TRUNCATE consumption, consumption_revisions")
        for number, (minutes, asked_minutes) in enumerate(steps, 1):
            clock.move(minutes=minutes)
            await driver.measure(revision(number))
            known.setdefault(min(WINDOW.start + timedelta(minutes=asked_minutes), clock.now), [])
            for at, seen in known.items():
                rows = await load_revisions_at(connection, [Span("sub-1", WINDOW.start, WINDOW.start)], at)
                seen.append(max((one.revision for one in rows.get("sub-1", ())), default=0))
    assert all(len(set(seen)) == 1 for seen in known.values()), known
