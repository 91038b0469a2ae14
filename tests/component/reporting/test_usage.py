"""Usage by day and hour over the API, on a real PostgreSQL."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.reporting.api.answers.usage import Usage
from services.reporting.domain.caller import Caller
from services.reporting.domain.reports.catalogue import ParameterError, check_parameters, find_report
from services.reporting.queries.report_rows import ReportRequest
from services.reporting.queries.report_sources.opening import open_source
from services.reporting.store import usage_days
from shared.events.metering import UsageHour
from tests.support.builders.people import person_id
from tests.support.builders.published import (
    AUDITOR,
    NOW,
    START,
    STRANGER,
    USERADMIN,
    VENDOR,
    VIEWER,
    WINDOW,
    account,
    created,
    plan,
    product,
    snapshot,
    subscription,
    usage_day,
)
from tests.support.drivers.reporting import ReportingDriver

USAGE = "/v1/subscriptions/sub-1/usage"
TODAY = NOW.date()
DAY = timedelta(days=1)


def text(at: datetime | date) -> str:
    """A time for a query; a day is its midnight in UTC."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


async def items(driver: ReportingDriver, query: str, who: str = VIEWER) -> list[dict[str, Any]]:
    """Return the items of an answer that fits its description."""
    answer = await driver.get(f"{USAGE}?{query}", who)
    Usage.model_validate(answer)
    found: list[dict[str, Any]] = answer["items"]
    return found


async def test_days_and_hours_are_listed_with_0_between(driver: ReportingDriver) -> None:
    await driver.measure_days(usage_day(TODAY - DAY, {3: 5, 9: 2}), usage_day(TODAY, {1: 4}, revision=7))
    days = await items(driver, f"interval=day&from={text(TODAY - 2 * DAY)}")
    assert [(one["start"][:10], one["aggregate"], one["consumed"], one["revision"]) for one in days] == [
        (str(TODAY - 2 * DAY), 0, 0, 0),
        (str(TODAY - DAY), 7, 7, 1),
        (str(TODAY), 4, 4, 7),
    ]
    assert all(one["provisional"] and "local_start" not in one for one in days)
    hours = await items(driver, f"interval=hour&from={text(TODAY - DAY)}&to={text(TODAY)}")
    assert len(hours) == 24
    assert {int(one["start"][11:13]): one["aggregate"] for one in hours if one["revision"]} == {3: 5, 9: 2}


async def test_an_answer_says_what_it_covers(driver: ReportingDriver) -> None:
    await driver.measure_days(usage_day(TODAY, {1: 4}))
    answer = await driver.get(f"{USAGE}?interval=day", VIEWER)
    assert (answer["interval"], answer["tz"], answer["additive"]) == ("day", "UTC", False)
    assert answer["as_of"] == text(NOW)
    assert answer["meters"] == [
        {"product": "scan", "meter": "host", "aggregation": "unique", "reset": "window", "additive": False}
    ]
    assert len(answer["items"]) == 1, "without a start, from the first measured day to the last"
    await driver.apply(product("calls", aggregation="sum"), created(subscription(version=2, allocated={"calls": 1})))
    assert (await driver.get(f"{USAGE}?interval=day&product=calls&from={text(TODAY)}", VIEWER))["additive"] is True


async def test_the_newest_revision_of_a_day_is_shown(driver: ReportingDriver) -> None:
    await driver.measure_days(usage_day(TODAY, {1: 4}, revision=3), usage_day(TODAY, {1: 9}, revision=2))
    await driver.measure_days(usage_day(TODAY, {1: 8}, revision=3), usage_day(TODAY, {1: 1}, revision=1))
    (shown,) = await items(driver, "interval=day")
    assert (shown["aggregate"], shown["revision"]) == (4, 3)
    await driver.measure_days(usage_day(TODAY, {}, revision=4))
    (shown,) = await items(
        driver, f"interval=hour&from={text(NOW - timedelta(hours=2))}&to={text(NOW - timedelta(hours=1))}"
    )
    assert (shown["aggregate"], shown["revision"]) == (0, 0)


async def test_days_begin_at_midnight_of_the_time_zone(driver: ReportingDriver) -> None:
    await driver.measure_days(
        usage_day(TODAY - DAY, {22: 1, 23: 2}),
        usage_day(TODAY, {0: 4}).model_copy(
            update={"hours": (UsageHour(hour=0, aggregate=Decimal(4), returning=((1, 2),)),)}
        ),
    )
    days = await items(driver, "interval=day&tz=Europe/Berlin")
    assert [(one["local_start"], one["aggregate"]) for one in days] == [
        (f"{TODAY - DAY}T00:00:00+01:00", 1),
        (f"{TODAY}T00:00:00+01:00", 4),
    ], "two of the four at midnight were seen within the same day there"
    assert [one["aggregate"] for one in await items(driver, "interval=day")] == [3, 4]
    hours = await items(driver, "interval=hour&tz=Europe/Berlin")
    assert [one["local_start"][11:16] for one in hours] == ["23:00", "00:00", "01:00"]


async def test_usage_is_compared_with_the_period_before(driver: ReportingDriver) -> None:
    await driver.measure_days(*(usage_day(TODAY - place * DAY, {2: place + 1}) for place in range(4)))
    answer = await driver.get(f"{USAGE}?interval=day&from={text(TODAY - DAY)}&to={text(TODAY + DAY)}&compare=previous")
    assert [one["aggregate"] for one in answer["items"]] == [2, 1]
    previous = answer["previous"]
    assert (previous["start"], previous["end"]) == (text(TODAY - 3 * DAY), text(TODAY - DAY))
    assert [one["aggregate"] for one in previous["items"]] == [4, 3]
    await driver.measure(snapshot(5, windows_ago=1), snapshot(7))
    answer = await driver.get(f"{USAGE}?from={text(WINDOW.start)}&to={text(WINDOW.end)}&compare=previous", VIEWER)
    assert [one["consumed"] for one in answer["items"]] == [7]
    assert [one["consumed"] for one in answer["previous"]["items"]] == [5]
    oldest = text(NOW - timedelta(days=395) + timedelta(seconds=1))
    answer = await driver.get(f"{USAGE}?interval=day&from={oldest}&compare=previous")
    assert answer["previous"] is None, "nothing is stored of the time before"


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("interval=week", "interval", "window"),
        ("interval=day&tz=Mars/Olympus", "tz", "Europe/Berlin"),
        ("interval=day&tz=../etc/passwd", "tz", "Europe/Berlin"),
        ("interval=day&tz=", "tz", ""),
        ("interval=day&tz=Asia/Kolkata", "tz", "within an hour"),
        ("interval=window&tz=Europe/Berlin", "tz", "windows begin with the term"),
        (f"interval=hour&from={text(NOW - timedelta(days=46))}", "from", "45 days"),
        (f"interval=day&from={text(NOW - timedelta(days=396))}", "from", "395 days"),
        (f"interval=day&to={text(NOW - timedelta(days=396))}", "to", "395 days"),
        (f"interval=day&from={text(NOW)}&to={text(NOW)}", "to", "after from"),
        ("compare=next", "compare", "previous"),
        ("meter=No such", "meter", ""),
        ("interval=day&product=nonsense", "product", "catalogue"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_name(driver: ReportingDriver, query: str, field: str, says: str) -> None:
    answer = await driver.ask("GET", f"{USAGE}?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert says in answer.json()["errors"][0]["message"]


async def test_usage_by_day_is_for_those_who_may_see_units(driver: ReportingDriver) -> None:
    answers = {
        who: (await driver.ask("GET", f"{USAGE}?interval=day", who)).status_code
        for who in (VENDOR, VIEWER, AUDITOR, USERADMIN, STRANGER)
    }
    assert answers == {VENDOR: 200, VIEWER: 200, AUDITOR: 200, USERADMIN: 403, STRANGER: 404}


async def test_a_year_of_days_goes_on_with_the_totals_of_the_term(driver: ReportingDriver) -> None:
    await driver.apply(product(aggregation="sum", reset="term", version=2), plan(subscription(version=2), 0, 400))
    days = [START.date() + place * DAY for place in range((TODAY - START.date()).days + 1)]
    await driver.measure_days(*(usage_day(day, {5: 2}, aggregation="sum") for day in days))
    whole = await items(driver, f"interval=day&from={text(START)}")
    last = await items(driver, f"interval=day&from={text(TODAY)}")
    assert last == whole[-1:]
    assert last[0]["term_to_date"] == {"aggregate": 2 * len(days), "consumed": 2 * len(days)}
    hours = await items(driver, f"interval=hour&from={text(TODAY)}")
    assert hours[-1]["term_to_date"]["consumed"] == 2 * len(days) - 2, "as of the hour before the day's usage"


async def test_old_days_are_deleted_with_their_hours(driver: ReportingDriver) -> None:
    await driver.measure_days(usage_day(TODAY, {1: 4}), usage_day(TODAY - 5 * DAY, {1: 4}))
    async with driver.runtime.pool.acquire() as connection:
        before = NOW - 3 * DAY
        assert await usage_days.find_old_days(connection, before, []) == ["sub-1"]
        assert await usage_days.find_old_days(connection, before, ["sub-1"]) == []
        await usage_days.prune_days(connection, before, ["sub-1"])
        for table in ("usage_days", "usage_hours"):
            assert await connection.fetchval(f"SELECT array_agg(day) FROM {table}") == [TODAY]  # noqa: S608


async def summaries(driver: ReportingDriver, query: str, who: str = VENDOR) -> list[tuple[str, int, float, int]]:
    """Return key, subscriptions, level and what was burned down of each sum."""
    answer = await driver.get(f"/v1/usage/summary?{query}", who)
    return [tuple(one.values()) for one in answer["items"]]


async def test_consumption_is_summed_up_across_subscriptions(driver: ReportingDriver) -> None:
    await driver.apply(account("globex"), created(subscription("sub-2", account="globex")), product("hub"))
    closed = snapshot(10, windows_ago=1)
    await driver.measure(closed, snapshot(20, windows_ago=1, product="hub"), snapshot(30, windows_ago=1, sub="sub-2"))
    burned = snapshot(8, windows_ago=1, product="calls", reset="term", sub="sub-2")
    added = burned.meters[0].model_copy(update={"window_aggregate": Decimal(5), "window_consumed": 5})
    await driver.measure(burned.model_copy(update={"meters": (added,)}))
    start, end = closed.window_start, closed.window_end
    whole = f"from={text(start)}&to={text(end)}"
    assert await summaries(driver, f"by=product&{whole}") == [
        ("calls", 1, 0.0, 5),
        ("hub", 1, 20.0, 0),
        ("scan", 2, 40.0, 0),
    ]
    assert await summaries(driver, f"by=account&{whole}") == [("acme", 1, 30.0, 0), ("globex", 1, 30.0, 5)]
    assert await summaries(driver, f"by=subscription&{whole}") == [("sub-1", 1, 30.0, 0), ("sub-2", 1, 30.0, 5)]
    half = f"from={text(start - (end - start))}&to={text(end)}"
    assert await summaries(driver, f"by=account&{half}") == [("acme", 1, 15.0, 0), ("globex", 1, 15.0, 5)]
    later = f"from={text(start + DAY)}&to={text(end)}"
    assert (await summaries(driver, f"by=account&{later}"))[1] == ("globex", 1, 30.0, 0), "its window began before"


async def test_consumption_is_summed_up_by_month(driver: ReportingDriver) -> None:
    await driver.measure(snapshot(31, windows_ago=3), snapshot(62, windows_ago=2), snapshot(28, windows_ago=1))
    found = await summaries(driver, f"by=month&from={text(START - 40 * DAY)}&to={text(NOW + 90 * DAY)}")
    assert [one[:2] for one in found] == [("2025-11", 0), ("2025-12", 0), ("2026-01", 1), ("2026-02", 1)]
    assert found[2][2] == round((31 * 15 + 62 * 15 + 28) / 31, 1)
    paged = await driver.get(f"/v1/usage/summary?by=month&limit=1&from={text(START)}")
    assert [one["key"] for one in paged["items"]] == ["2026-01"]
    rest = await driver.get(f"/v1/usage/summary?by=month&from={text(START)}&cursor={paged['next_cursor']}")
    assert [one["key"] for one in rest["items"]] == ["2026-02"]
    assert await summaries(driver, f"by=month&from={text(NOW + DAY)}&to={text(NOW + 2 * DAY)}") == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("by=week", 422),
        ("", 422),
        (f"by=month&from={text(NOW)}&to={text(START)}", 422),
        ("by=month&cursor=nonsense", 422),
        (f"by=product&from={text(START - 400 * DAY)}", 422),
    ],
)
async def test_a_wrong_summary_is_refused(driver: ReportingDriver, query: str, status: int) -> None:
    assert (await driver.ask("GET", f"/v1/usage/summary?{query}")).status_code == status


async def test_summaries_are_for_the_vendor(driver: ReportingDriver) -> None:
    assert (await driver.ask("GET", "/v1/usage/summary?by=product", VIEWER)).status_code == 403


async def report(driver: ReportingDriver, name: str, step: int = 1000, **parameters: str) -> list[tuple[Any, ...]]:
    """Return the rows of a report for the viewer, without its subscription."""
    found = find_report(name)
    checked = check_parameters(found, parameters, NOW)
    source = open_source(ReportRequest(found, checked, NOW, Caller(VIEWER, "Victor")))
    rows: list[tuple[Any, ...]] = []
    async with driver.runtime.pool.acquire() as connection:
        assert await source.count(connection) >= 0
        read = await source.read(connection, None, step)
        rows += [tuple(row) for row in read.rows]
        while read.position is not None:
            read = await source.read(connection, read.position, step)
            rows += [tuple(row) for row in read.rows]
    assert all(row[0] == "sub-1" for row in rows)
    return [row[1:] for row in rows]


@pytest.mark.parametrize("step", [1, 5000])
async def test_reports_by_day_and_hour_have_the_rows_of_the_api(driver: ReportingDriver, step: int) -> None:
    await driver.apply(created(subscription("sub-2", primary_contact=person_id(STRANGER), grants=[])))
    await driver.measure_days(
        usage_day(TODAY - DAY, {3: 5, 9: 2}), usage_day(TODAY, {1: 4}), usage_day(TODAY, {1: 9}, subscription="sub-2")
    )
    first = text(TODAY - 2 * DAY)
    rows = await report(driver, "usage-by-day", step, **{"from": first})
    shown = await items(driver, f"interval=day&from={first}")
    assert [(row[3], row[5], row[6], row[8]) for row in rows] == [
        (datetime.fromisoformat(one["start"]), one["aggregate"], one["consumed"], one["revision"]) for one in shown
    ]
    assert [row[9] for row in rows] == [None, NOW, NOW]
    assert {row[2] for row in rows} == {"unique"}
    hours = await report(driver, "usage-by-hour", step, **{"from": first, "product": "scan"})
    assert len(hours) == 2 * 24 + 3, "up to 03:00, which is now"
    assert sum(row[5] for row in hours) == 11
    assert len(await report(driver, "usage-by-day", step, tz="Europe/Berlin")) == 2
    with pytest.raises(ParameterError, match="within an hour"):
        await report(driver, "usage-by-day", step, tz="Asia/Kolkata")
