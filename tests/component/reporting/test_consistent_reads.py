"""Consistent reads: one instant per request, despite concurrent commits."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from jinja2 import meta

from services.reporting.domain.caller import Caller
from services.reporting.main import new_claim_names, new_token_verifier
from services.reporting.pages import fragments
from services.reporting.pages.installation import install
from services.reporting.pages.responder import PageResponder
from services.reporting.sessions import Person, Sessions
from services.reporting.store import alerts, consumption, subscriptions
from shared.runtime.postgres.pool import connect, is_transient_database_error, within_request
from tests.support.builders.published import NOW, PRIMARY, VIEWER, alert, plan, snapshot, subscription
from tests.support.drivers.reporting import ReportingDriver

SUB = "/v1/subscriptions/sub-1"
DEADLINE_SECONDS = 10
PAULA = Caller(PRIMARY, "Paula")


@pytest.fixture
async def overtaken(driver: ReportingDriver, monkeypatch: pytest.MonkeyPatch) -> ReportingDriver:
    """Commit changes between the first statement of a read and the next."""
    await driver.measure(snapshot(100))
    await driver.apply(alert("alert-1"))
    changes = [1]

    async def change() -> None:
        while changes:
            changes.pop()
            state = subscription(version=2, allocated={"scan": 900})
            await driver.apply(
                plan(state, 400, 900), alert("alert-2", rule="pool_consumption", scope="pool", product=None)
            )
            await driver.measure(snapshot(850, revision=2))

    for name in ("find_with_roles", "find_with_catalogue"):
        monkeypatch.setattr(subscriptions, name, _then(getattr(subscriptions, name), change))
    return driver


def _then(find: Callable[..., Any], change: Callable[[], Any]) -> Callable[..., Any]:
    async def found(*arguments: Any) -> Any:
        state = await find(*arguments)
        await asyncio.create_task(change())
        return state

    return found


async def test_overview_is_of_one_instant_when_a_write_commits_between_its_statements(
    overtaken: ReportingDriver,
) -> None:
    first, second = await overtaken.get(SUB, VIEWER), await overtaken.get(SUB, VIEWER)
    assert (first["version"], first["allocated"], first["consumed"]) == (1, 400, 100)
    assert (second["version"], second["allocated"], second["consumed"]) == (2, 900, 850)


async def test_alerts_and_their_values_are_of_one_instant_when_a_write_commits_between(
    overtaken: ReportingDriver,
) -> None:
    (first,) = (await overtaken.get(f"{SUB}/alerts", VIEWER))["items"]
    assert (first["id"], first["value_now"]) == ("alert-1", 25.0)
    assert len((await overtaken.get(f"{SUB}/alerts", VIEWER))["items"]) == 2


async def test_usage_is_of_one_instant_when_a_write_commits_between(overtaken: ReportingDriver) -> None:
    (first,) = (await overtaken.get(f"{SUB}/usage", VIEWER))["items"]
    assert (first["consumed"], first["revision"]) == (100, 1)


@pytest.fixture
async def responder(driver: ReportingDriver) -> PageResponder:
    """Install the page, and sign Paula in."""
    runtime = driver.runtime
    claims = new_claim_names(runtime.settings)
    tokens = new_token_verifier(runtime.settings, claims, runtime.clock)
    responder = install(
        runtime.api, driver.application, pool=runtime.pool, settings=runtime.settings, tokens=tokens, claims=claims
    )
    session = await Sessions(runtime.pool).begin(Person(PRIMARY, "Paula", vendor=False), NOW)
    driver.http.cookies.set(responder.session_cookie, session)
    return responder


@pytest.mark.usefixtures("responder")
async def test_page_is_of_one_instant_when_a_write_commits_between(overtaken: ReportingDriver) -> None:
    page = (await overtaken.http.get("/subscriptions/sub-1")).text
    assert "100 consumed, 400 allocated" in page
    assert 'id="alert-alert-1"' in page
    assert 'id="alert-alert-2"' not in page
    assert 'data-version="1"' in page


@pytest.fixture
def counted(driver: ReportingDriver, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count reads by function, and acquired connections."""
    counts: Counter[str] = Counter()

    def count(of: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(of, name)

        def counting(*arguments: Any, **named: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **named)

        monkeypatch.setattr(of, name, counting)

    for of, name in (
        (driver.runtime.pool, "acquire"),
        (consumption, "load_term"),
        (alerts, "list_alerts"),
        (subscriptions, "find_with_catalogue"),
        (subscriptions, "list_subscriptions"),
        (fragments, "render_plan_fragments"),
    ):
        count(of, name)
    return counts


ONCE = {
    **dict.fromkeys(("load_term", "list_alerts", "find_with_catalogue", "list_subscriptions"), 1),
    "render_plan_fragments": 1,
    "acquire": 2,
}
"""One of the two connections is for the session."""


@pytest.mark.parametrize("path", ["/subscriptions/sub-1", "/"])
@pytest.mark.usefixtures("responder")
async def test_page_reads_each_table_once(driver: ReportingDriver, counted: Counter[str], path: str) -> None:
    await driver.apply(alert())
    counted.clear()
    answer = await driver.http.get(path)
    assert answer.status_code == 200
    tokens = answer.text.count('name="csrf" value="')
    assert (tokens, answer.text.count('name="csrf" value=""')) == (3, 0)  # to sign out, of the alert, of the plan
    again = {"acquire": 3} if path == "/" else {}  # to know that there is one only
    assert counted == ONCE | again


@pytest.mark.usefixtures("responder")
async def test_page_of_usage_is_read_from_one_connection(driver: ReportingDriver, counted: Counter[str]) -> None:
    counted.clear()
    assert (await driver.http.get("/subscriptions/sub-1/usage")).status_code == 200
    assert (counted["acquire"], counted["find_with_catalogue"], counted["load_term"]) == (2, 1, 1)


def test_page_contains_the_fragments_without_rendering_them_again(responder: PageResponder) -> None:
    found = {}
    for template in ("subscription.html", "plan.html"):
        assert responder.templates.loader is not None
        source, _, _ = responder.templates.loader.get_source(responder.templates, template)
        found[template] = set(meta.find_referenced_templates(responder.templates.parse(source)))
    assert found == {"subscription.html": {"layout.html", "plan.html"}, "plan.html": {"fragments.html"}}  # its icons


async def test_read_is_cancelled_and_its_connection_closed_when_it_hangs(driver: ReportingDriver) -> None:
    other = await connect(driver.runtime.settings, "test")
    async with other.transaction():
        await other.execute("LOCK TABLE consumption IN ACCESS EXCLUSIVE MODE")
        within_request.set(0.3)
        with pytest.raises(Exception) as caught:  # noqa: PT011  # any that passes
            await asyncio.wait_for(driver.application.queries.overview(PAULA, "sub-1"), DEADLINE_SECONDS)
        assert is_transient_database_error(caught.value)
    await other.close()
    within_request.set(DEADLINE_SECONDS)
    assert (await driver.application.queries.overview(PAULA, "sub-1")).version == 1
