"""The page's live stream: it ends with the session, and does not renew it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.reporting.api import stream as api_stream
from services.reporting.main import new_claim_names, new_token_verifier
from services.reporting.pages import stream
from services.reporting.pages.installation import install
from services.reporting.pages.responder import PageResponder
from services.reporting.sessions import IDLE, LIFETIME, Person, Sessions
from services.reporting.store import consumption, vendor_operators
from tests.support.builders.published import NOW, PRIMARY, STRANGER, VENDOR, alert
from tests.support.drivers.reporting import ReportingDriver

PAGE = "/subscriptions/sub-1"
LIVE, API = f"{PAGE}/live", f"/v1{PAGE}/stream"
SOON = timedelta(minutes=1)
DEADLINE_SECONDS = 15


@pytest.fixture
def responder(driver: ReportingDriver, monkeypatch: pytest.MonkeyPatch) -> PageResponder:
    """Install the page, with streams that check access often."""
    monkeypatch.setattr(stream, "KEEP_ALIVE_SECONDS", 0.3)
    monkeypatch.setattr(api_stream, "RECHECK_SECONDS", 0.3)
    runtime = driver.runtime
    claims = new_claim_names(runtime.settings)
    tokens = new_token_verifier(runtime.settings, claims, runtime.clock)
    return install(
        runtime.api, driver.application, pool=runtime.pool, settings=runtime.settings, tokens=tokens, claims=claims
    )


async def signed_in(
    driver: ReportingDriver, responder: PageResponder, *, began: datetime, seen: datetime | None = None, **who: bool
) -> str:
    """Begin a session, last used at ``seen``, and set the client's cookie."""
    email = VENDOR if who.get("vendor") else PRIMARY
    session = await Sessions(driver.runtime.pool).begin(Person(email, "P", vendor=bool(who.get("vendor"))), began)
    async with driver.runtime.pool.acquire() as connection:
        await connection.execute("UPDATE sessions SET seen_at = $1", seen or began)
    driver.http.cookies.set(responder.session_cookie, session)
    return session


async def seen_at(driver: ReportingDriver) -> datetime:
    """Return when the session was last used."""
    async with driver.runtime.pool.acquire() as connection:
        found: datetime = await connection.fetchval("SELECT seen_at FROM sessions")
    return found


@pytest.mark.parametrize("path", [LIVE, API])
@pytest.mark.parametrize(
    ("began", "seen"),
    [(NOW - LIFETIME + SOON, NOW), (NOW - IDLE + SOON, NOW - IDLE + SOON)],
    ids=["its end", "idle"],
)
async def test_stream_ends_when_its_session_ends(
    driver: ReportingDriver, responder: PageResponder, path: str, began: datetime, seen: datetime
) -> None:
    await signed_in(driver, responder, began=began, seen=seen)
    following = asyncio.create_task(driver.http.get(path))
    await until_watched(driver)
    driver.application.clock = lambda: NOW + SOON
    answer = await asyncio.wait_for(following, DEADLINE_SECONDS)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
    assert await seen_at(driver) == seen, "a stream is no sign of a person"
    again = await driver.http.get(path)
    assert again.status_code == (204 if path == LIVE else 401)


async def test_page_stream_ends_when_the_person_signs_out(driver: ReportingDriver, responder: PageResponder) -> None:
    session = await signed_in(driver, responder, began=NOW)
    following = asyncio.create_task(driver.http.get(LIVE))
    await until_watched(driver)
    await Sessions(driver.runtime.pool).end(session)
    assert (await asyncio.wait_for(following, DEADLINE_SECONDS)).status_code == 200


async def test_page_stream_ends_when_the_issuer_revokes_the_role(
    driver: ReportingDriver, responder: PageResponder
) -> None:
    await signed_in(driver, responder, began=NOW, vendor=True)
    following = asyncio.create_task(driver.http.get(LIVE))
    await until_watched(driver)
    async with driver.runtime.pool.acquire() as connection:
        await vendor_operators.is_vendor(connection, VENDOR, NOW)
        await vendor_operators.record_revocation(connection, VENDOR, NOW + timedelta(seconds=1))
    assert (await asyncio.wait_for(following, DEADLINE_SECONDS)).status_code == 200
    assert (await driver.http.get(PAGE)).status_code == 404


async def test_session_is_renewed_by_requests_of_a_person_only(
    driver: ReportingDriver, responder: PageResponder
) -> None:
    seen = NOW - timedelta(minutes=30)
    await signed_in(driver, responder, began=NOW - timedelta(hours=1), seen=seen)
    following = asyncio.create_task(driver.http.get(LIVE))
    await until_watched(driver)
    assert await seen_at(driver) == seen
    assert (await driver.http.get(PAGE)).status_code == 200
    assert await seen_at(driver) > seen
    driver.application.live.stop()
    await asyncio.wait_for(following, DEADLINE_SECONDS)


@pytest.mark.parametrize("is_current", [True, False])
async def test_stream_reads_once_and_sends_the_differences_when_it_opens(
    driver: ReportingDriver, responder: PageResponder, monkeypatch: pytest.MonkeyPatch, is_current: bool
) -> None:
    session = await signed_in(driver, responder, began=NOW)
    await driver.apply(alert())
    page = (await driver.http.get(PAGE)).text
    since = page.partition("/live?since=")[2].partition('"')[0] if is_current else "0" * 16
    reads, load_term = 0, consumption.load_term

    async def counted(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return await load_term(*arguments)

    monkeypatch.setattr(consumption, "load_term", counted)
    following = asyncio.create_task(driver.http.get(f"{LIVE}?since={since}"))
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not reads:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    driver.application.live.stop()
    sent = (await asyncio.wait_for(following, DEADLINE_SECONDS)).text
    assert reads == 1
    assert sent.count("event: leaves") == (0 if is_current else 1)
    if not is_current:
        assert 'hx-swap-oob="innerHTML:#row-scan"' in sent
        token = sent.partition('name="csrf" value="')[2].partition('"')[0]
        assert responder.csrf.is_form_token(token, session)


async def test_plan_changes_nothing_when_its_numbers_are_unreadable(
    driver: ReportingDriver, responder: PageResponder
) -> None:
    session = await signed_in(driver, responder, began=NOW)
    form = {"csrf": responder.csrf.form_token(session), "version": "1", "units.scan": "150,5", "intent": "preview"}
    answer = await driver.http.post(f"{PAGE}/plan", data=form)
    assert answer.status_code == 200
    assert "Type a whole number of units" in answer.text
    assert 'value="150,5"' in answer.text
    async with driver.runtime.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM commands") == 0


async def test_page_is_not_found_when_it_belongs_to_another_customer(
    driver: ReportingDriver, responder: PageResponder
) -> None:
    session = await Sessions(driver.runtime.pool).begin(Person(STRANGER, "S", vendor=False), NOW)
    driver.http.cookies.set(responder.session_cookie, session)
    for path in (PAGE, LIVE, f"{PAGE}/usage"):
        assert (await driver.http.get(path)).status_code == 404


async def until_watched(driver: ReportingDriver) -> None:
    """Wait until a stream watches the subscription."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not driver.application.live._watches:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
