"""Insights over the API: forecasts, run-outs, findings and proposals."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.events.state import SubscriptionState, Term
from tests.conftest import MakeDatabase
from tests.support.builders.insights import (
    BEGAN,
    ENDS,
    PRESENT,
    at_window,
    snapshots_of,
    state_of,
    windows,
)
from tests.support.builders.published import PRIMARY, STRANGER, USERADMIN, VIEWER, created
from tests.support.drivers.insights import USED, MovingClock, finish, run_of, with_history
from tests.support.drivers.reporting import ReportingDriver
from tests.support.servers.token_issuer import Issuer

PATH = "/v1/subscriptions/sub-1/insights"


@pytest.fixture
def clock() -> MovingClock:
    """The clock of the driver."""
    return MovingClock(PRESENT)


@pytest.fixture
async def insights(database: MakeDatabase, shared_issuer: Issuer, clock: MovingClock) -> AsyncIterator[ReportingDriver]:
    """Start reporting with two products, one used and one idle, for twelve windows."""
    async with with_history(await database("reporting"), shared_issuer, clock) as driver:
        yield driver


async def test_insights_are_made_at_once_when_there_is_no_forecast_yet(insights: ReportingDriver) -> None:
    body = await insights.get(PATH, VIEWER)
    assert body["made_at"] == "2026-07-05T00:00:00Z"
    assert (body["subscription"], body["version"]) == ("sub-1", 7)
    assert [one["product"] for one in body["products"]] == ["scan", "hub"]
    assert body["pool"]["sentence"] == (
        "The pool is not used up before 28 September, which is as far as the forecast reaches; "
        "the term ends 1 January 2027."
    )
    assert body["products"][0]["sentence"] == (
        "The units of Scan are already used up: 380 of 300 Units are consumed; the term ends 1 January 2027."
    )
    assert [point["median"] for point in body["products"][0]["points"]] == [400] * 7
    assert [one["product"] for one in body["over_used"]] == ["scan"]
    assert [one["product"] for one in body["under_used"]] == ["hub"]
    assert body["under_used"][0]["windows"][0] == {
        "start": "2026-06-15T00:00:00Z",
        "end": "2026-06-30T00:00:00Z",
        "consumed": 20,
        "utilisation": 10.0,
    }
    proposal = body["proposal"]
    assert (proposal["for_version"], proposal["unmet_before"], proposal["unmet_after"]) == (7, 100, 0)
    assert proposal["preview"] == {
        "changes": [{"product": "scan", "units": 400}, {"product": "hub", "units": 100}],
        "preview": True,
    }
    assert body["proposal_reason"] is None
    assert body["pool"]["accuracy"] is None


@pytest.mark.parametrize(("who", "status"), [(USERADMIN, 403), (STRANGER, 404)])
async def test_insights_are_shown_to_those_who_may_see_the_subscription(
    insights: ReportingDriver, who: str, status: int
) -> None:
    assert (await insights.ask("GET", PATH, who)).status_code == status
    assert (await insights.ask("GET", "/v1/subscriptions/sub-9/insights", PRIMARY)).status_code == 404
    assert (await insights.ask("GET", "/v1/subscriptions/NO_ID/insights", PRIMARY)).status_code == 404


async def test_a_stored_forecast_is_compared_with_the_present(insights: ReportingDriver, clock: MovingClock) -> None:
    await finish(run_of(insights, clock))
    made = clock.now
    clock.now += timedelta(hours=20)
    state = state_of({"scan": 430, "hub": 70}, 500)
    await insights.apply(created(state.model_copy(update={"version": 8})))
    body = await insights.get(PATH)
    assert datetime.fromisoformat(body["made_at"]) == made
    assert (body["version"], body["products"][0]["limit"]) == (8, 430)
    assert body["products"][0]["basis"] == "with_range"
    assert (body["proposal"], body["over_used"]) == (None, [])
    assert body["proposal_reason"] == "No product is expected to need more than it is allocated until 3 October."


async def test_a_forecast_that_was_made_before_its_windows_arrived_is_not_shown(
    insights: ReportingDriver, clock: MovingClock
) -> None:
    async with insights.runtime.pool.acquire() as connection:
        await connection.execute("DELETE FROM consumption WHERE window_start < $1", at_window(6))
    await finish(run_of(insights, clock))
    clock.now += timedelta(hours=1)
    assert datetime.fromisoformat((await insights.get(PATH))["made_at"]) == PRESENT
    await insights.measure(*snapshots_of(windows(USED[:6])))
    assert datetime.fromisoformat((await insights.get(PATH))["made_at"]) == clock.now


async def test_a_forecast_of_the_former_term_is_not_shown(insights: ReportingDriver, clock: MovingClock) -> None:
    await finish(run_of(insights, clock))
    terms = [Term(start=BEGAN, end=PRESENT + timedelta(days=1)), Term(start=PRESENT + timedelta(days=1), end=ENDS)]
    await insights.apply(created(state_of({"scan": 400}, 500, terms=terms).model_copy(update={"version": 8})))
    clock.now = PRESENT + timedelta(days=2)
    body = await insights.get(PATH)
    assert datetime.fromisoformat(body["made_at"]) == clock.now


@pytest.mark.parametrize(
    ("more", "now", "sentence"),
    [
        ({"state": "pending"}, BEGAN - timedelta(days=1), "The term begins 1 January 2026, so there is no forecast."),
        ({"state": "grace"}, ENDS + timedelta(days=1), "The term ended 1 January, so there is no forecast."),
        (
            {"state": "cancelled", "cancelled_at": PRESENT},
            PRESENT,
            "The subscription is cancelled, so there is no forecast.",
        ),
        ({"products": [], "lots": []}, PRESENT, "No units are purchased."),
        ({"model": "per_product"}, PRESENT, "The subscription is not a flex subscription, so there is no forecast."),
    ],
)
async def test_every_subscription_has_insights(
    insights: ReportingDriver, clock: MovingClock, more: dict[str, Any], now: datetime, sentence: str
) -> None:
    state = SubscriptionState.model_validate({**state_of({"scan": 500}, 700).model_dump(), **more, "version": 9})
    await insights.apply(created(state))
    clock.now = now
    body = await insights.get(PATH)
    assert body["pool"]["sentence"] == sentence
    assert body["proposal"] is None
    assert body["proposal_reason"].endswith(".")


async def test_units_by_the_trillion_are_integers(insights: ReportingDriver) -> None:
    big = 10**12
    await insights.apply(created(state_of({"scan": 3 * big}, 4 * big).model_copy(update={"version": 8})))
    await insights.measure(*snapshots_of(windows([big + number for number in range(13)]), revision=2))
    body = await insights.get(PATH)
    assert body["products"][0]["points"][1]["median"] > big
    assert all(type(point["high"]) is int for point in body["products"][0]["points"])
    assert body["proposal_reason"] == "No product is expected to need more than it is allocated until 3 October."
