"""Entitlement answers on a real PostgreSQL: many share a read, and none is stale."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metering.api.entitlements import Question, answers, read
from services.metering.domain.consumption import Measured, snapshot
from services.metering.store import entitlements, projection
from services.metering.store.projection import Projection
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Connection
from shared.units import MAX_UNITS
from tests.component.metering.test_apply_usage import apply
from tests.support.builders.metering import NOW, event, records, subscription

EARLIER = NOW - timedelta(days=30)


async def ask(connection: Connection, known: Projection, *questions: Question) -> list[Any]:
    found = await answers(connection, known, questions, NOW)
    return [None if one is None else json.loads(one) for one in found]


async def test_answers_equal_those_of_single_requests_when_many_share_a_read(connection: Connection) -> None:
    used = [event(f"s-{n}", subject=f"sub-{1 + n % 2}", resource=f"r-{n}") for n in range(7)]
    used += [event("old", resource="gone", at=EARLIER)]
    used += [event(f"c-{at}", "calls", "call", quantity=95, at=at) for at in (EARLIER, NOW)]
    await apply(connection, records(used))
    questions = [
        Question("sub-1", "scan", 1),
        Question("sub-2", "scan", 98),
        Question("sub-1", "calls", 1),
        Question("nobody", "scan", 1),
        Question("sub-1", "nothing", 1),
        Question("sub-3", "scan", 1),
        Question("sub-1", "scan", 1),
    ]
    known = Projection()
    together = await ask(connection, known, *questions)
    assert together == [(await ask(connection, known, one))[0] for one in questions]
    # scan counts this window's hosts; calls adds up its term: 190 calls, ten a unit.
    assert [one and one["consumed"] for one in together] == [4, 3, 19, None, None, 0, 4]
    assert [one and one["reason"] for one in together[:2]] == ["within_allocation", "overage_permitted"]
    as_of = await connection.fetchval("SELECT max(appended_at) FROM usage_position")
    assert {one["as_of"] for one in together if one} == {as_of.isoformat().replace("+00:00", "Z")}


async def test_the_next_answer_is_current_when_another_process_has_committed(connection: Connection) -> None:
    known, one = Projection(), Question("sub-1", "scan", 99)
    before = (await ask(connection, known, one))[0]
    assert (before["consumed"], before["allocated"], before["reason"]) == (0, 100, "within_allocation")
    await apply(connection, records([event("a", resource="r"), event("b", resource="q")]))
    assert (await ask(connection, known, one))[0]["reason"] == "overage_permitted"
    async with connection.transaction():
        states = [subscription("sub-1", ("scan",), allocated=300, version=2), subscription("new", ("scan",))]
        await projection.save(connection, states, [])
    after, new = await ask(connection, known, one, Question("new", "scan", 1))
    assert (after["consumed"], after["allocated"], after["reason"]) == (2, 300, "within_allocation")
    assert new["consumed"] == 0


async def test_windows_are_read_by_their_key(connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO meter_window SELECT now(), now(), NULL, 1, n, 1, 1 FROM generate_series(1, 20000) n"
    )
    await connection.execute("ANALYZE meter_window")
    statement = entitlements._LOAD
    for number, value in enumerate(("ARRAY[0]", "ARRAY[1]", "ARRAY[1]", "ARRAY[now()]"), 1):
        statement = statement.replace(f"${number}", value)
    plan = await connection.fetch(f"EXPLAIN {statement}")
    text = "\n".join(row[0] for row in plan)
    assert "meter_window_pkey" in text
    assert "Seq Scan on meter_window" not in text


async def test_consumption_is_the_same_when_only_recent_windows_are_read(connection: Connection) -> None:
    kinds = ("sum", "count", "peak", "latest", "unique")
    used = [
        event(f"{kind}-{reset}-{n}", "all", f"{kind}-{reset}", subject="sub-3", quantity=5 + n, resource="r",
              at=NOW - timedelta(days=3 * n))
        for kind in kinds for reset in ("window", "term") for n in range(12)
    ]  # fmt: skip
    await apply(connection, records(used))
    known = Projection()
    (answer,) = await ask(connection, known, Question("sub-3", "all", 1))
    catalogue = known.catalogue
    rows = await connection.fetch(
        "SELECT meter, window_start, aggregate, reached_at, revision, as_of FROM meter_window ORDER BY window_start"
    )
    history: dict[int, list[Any]] = {}
    for meter, *measured in map(tuple, rows):
        history.setdefault(meter, []).append(Measured(*measured))
    of = catalogue.subscriptions["sub-3"].state
    whole = snapshot(of, catalogue.products["all"], of.calendar.window_at(NOW).start, history)
    assert whole is not None
    assert answer["consumed"] == whole.consumed > 0


@given(st.integers(0, MAX_UNITS))
def test_a_request_is_read_with_any_number_of_units(units: int) -> None:
    given = {"subscription": "s", "product": "p", "units": str(units)}
    assert read(given) == Question("s", "p", units)


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({}, ["subscription", "product"]),
        ({"subscription": "", "product": "p" * 65}, ["subscription", "product"]),
        *(
            ({"subscription": "s", "product": "p", "units": bad}, ["units"])
            for bad in ("", "-1", "1.0", "1e3", "one", "²", "\u0661", str(MAX_UNITS + 1), "9" * 5000)
        ),
    ],
)
def test_an_entitlement_request_names_each_field_when_it_is_invalid(given: dict[str, str], fields: list[str]) -> None:
    with pytest.raises(ProblemError) as error:
        read(given)
    assert (error.value.status, [one["field"] for one in error.value.refusal.details["errors"]]) == (422, fields)
