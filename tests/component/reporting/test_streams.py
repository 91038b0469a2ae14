"""Live streams: their end, the sessions behind them, and the limit per person."""

import asyncio
import time
from datetime import timedelta

import pytest

from services.reporting.api import stream
from services.reporting.live_changes import LiveChanges
from services.reporting.sessions import IDLE, Person, Sessions
from services.reporting.store import vendor_operators
from shared.runtime.http.caller_limits import Shares
from tests.support.builders.published import NOW, PRIMARY
from tests.support.drivers.reporting import ReportingDriver

PATH = "/v1/subscriptions/sub-1/stream"


async def test_quiet_stream_ends_when_its_token_expires(driver: ReportingDriver) -> None:
    token = driver.issuer.token(PRIMARY, exp=int(time.time()) + 3)
    async with asyncio.timeout(10):
        answer = await driver.http.get(PATH, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert "missed" in answer.text


async def test_stream_ends_when_the_process_stops(driver: ReportingDriver) -> None:
    answering = asyncio.create_task(driver.ask("GET", PATH, PRIMARY))
    async with asyncio.timeout(10):
        while not driver.application.live._watches:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        driver.application.live.stop()
        assert (await answering).status_code == 200


async def test_place_under_the_limit_is_released_however_a_stream_ends(
    driver: ReportingDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_STREAM_SECONDS", 0.1)
    driver.application.streams = Shares(2, 1)
    for _ in range(3):
        assert (await driver.ask("GET", PATH, PRIMARY)).status_code == 200
        assert (await driver.ask("HEAD", PATH, PRIMARY)).status_code == 200
    release = driver.application.streams.take(PRIMARY, "no")
    refused = await driver.ask("GET", PATH, PRIMARY)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert (await driver.ask("GET", PATH)).status_code == 200, "another person has a limit of their own"
    release()


async def test_session_is_not_renewed_by_requests_of_the_page_itself(driver: ReportingDriver) -> None:
    sessions = Sessions(driver.runtime.pool)
    session = await sessions.begin(Person(PRIMARY, "P", vendor=False), NOW)
    almost = NOW + IDLE - timedelta(minutes=1)
    assert await sessions.find(session, almost, renew=False)
    assert await sessions.find(session, NOW + IDLE + timedelta(minutes=1), renew=False) is None
    assert await sessions.find(session, almost)
    found = await sessions.find(session, NOW + IDLE + timedelta(minutes=1))
    assert found is not None
    assert found.ends_in_seconds < timedelta(hours=8).total_seconds()


async def test_session_has_the_role_of_the_newest_token(driver: ReportingDriver) -> None:
    sessions = Sessions(driver.runtime.pool)
    session = await sessions.begin(Person("vera@unitpool.example", "V", vendor=True), NOW)
    async with driver.runtime.pool.acquire() as connection:
        assert await vendor_operators.is_vendor(connection, "vera@unitpool.example", NOW - timedelta(hours=1))
        await vendor_operators.record_revocation(connection, "vera@unitpool.example", NOW + timedelta(minutes=1))
        await vendor_operators.record_revocation(connection, "nobody@unitpool.example", NOW + timedelta(minutes=1))
    found = await sessions.find(session, NOW + timedelta(minutes=2))
    assert found is not None
    assert not found.vendor


async def test_passed_time_is_yielded_when_it_is_requested() -> None:
    changes = LiveChanges().changes("sub-1", for_seconds=0.3, at_least_every=0.1)
    kinds = [change.what async for change in changes]
    assert kinds[0] == "missed"
    assert set(kinds[1:]) == {"nothing"}
