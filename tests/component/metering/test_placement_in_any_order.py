"""Changes of a subscription and its usage, arriving in any order.

Renewals, cancellations, products given up and taken again, late events, purges and reversals: in every order, the usage
counted at the end equals the reference's result for the newest state and all events.
"""

import random
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.metering.handlers.apply_usage import UsageApplier
from services.metering.verification import EQUAL, check_all
from shared.events.state import SubscriptionState, Term
from shared.runtime.postgres.pool import Connection
from tests.component.metering.test_corrections import TABLES, figures, hours, resources
from tests.support.builders.lifecycles import (
    Reader,
    cancelled,
    changed,
    correct,
    gave_up,
    know,
    move,
    renewed,
    replay,
    settle,
    subscribed,
    took_again,
)
from tests.support.builders.metering import NOW, event, purge, records, reversal, subscription
from tests.support.drivers.transactions import transaction
from tests.support.references import usage as reference

History = list[SubscriptionState]
"""The states of a subscription, in order."""
PRODUCTS = {"scan": ["host"], "calls": ["call", "request"], "web": ["app", "cert"]}
HOUR, TINY = timedelta(hours=1), timedelta(microseconds=1)
CHANGE_TIMES = [NOW - timedelta(days=days) for days in (31, 17, 16, 3)] + [NOW]
"""Times of changes; usage is around them."""


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw the states of a subscription: its creation, then changes at some times."""
    start = draw(st.sampled_from([NOW - timedelta(days=300, hours=5), CHANGE_TIMES[0]]))
    end = draw(st.sampled_from([*CHANGE_TIMES[1:4], NOW + timedelta(days=9)]))
    term = Term(start=start, end=end)
    first = subscription("life", draw(st.sampled_from([("scan", "calls"), ("calls",)])), start=start)
    drawn = [first.model_copy(update={"term": term, "terms": (term,)})]
    for at in draw(st.lists(st.sampled_from(CHANGE_TIMES[1:]), max_size=5).map(sorted)):
        if drawn[-1].cancelled_at is None:
            drawn.append(draw(st.sampled_from(list(_next(drawn[-1], at)))))
    return drawn


def _next(state: SubscriptionState, at: datetime) -> Iterator[SubscriptionState]:
    """Yield every state that may follow at this time."""
    yield changed(state)
    yield cancelled(state, at)
    last = state.all_terms[-1]
    if len(state.all_terms) < 3:
        yield renewed(state)
        if at > last.end:
            yield renewed(state, at)
    if last.start < at < last.end:  # no command causes this yet
        yield renewed(changed(state, terms=(*state.all_terms[:-1], Term(start=last.start, end=at))))
    used, active = ({one.product for one in products} for products in (state.products, state.active_products))
    for name in PRODUCTS:
        if name not in used:
            yield subscribed(state, name, at)
        elif name in active:
            yield gave_up(state, name, at)
        else:
            yield took_again(state, name, at)


TIMES = st.builds(
    lambda change, shift: change + shift,
    st.sampled_from(CHANGE_TIMES),
    st.sampled_from([-2 * HOUR, -TINY, 0 * TINY, TINY, HOUR, timedelta(days=4)]),
).filter(lambda at: NOW - timedelta(days=35) <= at <= NOW + timedelta(minutes=5))


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for n in range(draw(st.integers(1, 12))):
        product = draw(st.sampled_from(sorted(PRODUCTS)))
        meter = draw(st.sampled_from(PRODUCTS[product]))
        data = {"quantity": draw(st.integers(0, 40)), "resource": draw(st.sampled_from("ab"))}
        items.append(event(f"u{n}", product, meter, subject="life", at=draw(TIMES), **data))
    for n in range(draw(st.integers(0, 2))):
        items.append(purge(f"p{n}", draw(st.sampled_from("ab")), subject="life", at=draw(TIMES)))
    for n in range(draw(st.integers(0, 4))):
        items.append(reversal(f"r{n}", draw(st.sampled_from(items[:12]))))
    return items


async def step(connection: Connection, rng: random.Random, at: datetime) -> None:
    """Run some of metering's automatic tasks, or none."""
    for work in rng.sample([move, replay, correct], rng.randrange(4)):
        await work(connection, at)


@pytest.mark.timeout(900)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(histories(), streams(), st.integers(0, 2**32))
async def test_counted_usage_follows_the_newest_state_when_events_arrive_in_any_order(
    connection: Connection, history: History, events: list[dict[str, Any]], seed: int
) -> None:
    await connection.execute(f"TRUNCATE {TABLES}, move_due")
    await connection.execute("DELETE FROM subscription WHERE id = 'life'")
    rng, reader = random.Random(seed), Reader(connection)
    shuffled = [*events, *rng.choices(events, k=3)]
    rng.shuffle(shuffled)
    steps: list[Any] = [*history[1:], *([one] for one in shuffled)]
    places = sorted(rng.sample(range(len(steps)), len(history) - 1))
    order = iter(history[1:])
    batches = iter(shuffled)
    await know(connection, history[0])
    for number in range(len(steps)):
        if number in places:
            await know(connection, next(order))
        else:
            async with transaction(connection) as tx:
                await UsageApplier().apply(tx, records([next(batches)], first=number))
        await step(connection, rng, NOW + timedelta(seconds=number))
        if rng.randrange(2):
            await reader.read()
        assert await connection.fetchval("SELECT coalesce(min(aggregate), 0) FROM meter_window") >= 0
    await settle(connection, NOW + timedelta(minutes=1))
    await reader.read()
    states = {"life": history[-1]}
    wanted = reference.aggregates(events, states)
    assert await figures(connection) == wanted
    assert await hours(connection) == reference.hours(events, states)
    assert await resources(connection) == reference.resources(events, states)
    output = StringIO()
    with redirect_stdout(output):
        assert await check_all(connection, NOW) == EQUAL, output.getvalue()
    assert_readers_know(reader, wanted, states)


def assert_readers_know(reader: Reader, wanted: reference.Figures, states: reference.States) -> None:
    """Assert final figures and window ends of a reader that ignores old revisions.

    A window that by the newest state does not begin there has nothing left: its usage is in another window.
    """
    shown = {(one.product, part.meter, one.window_start): part for one in reader.known.values() for part in one.meters}
    for _, product, meter, start in wanted:
        assert (product, meter, start) in shown
    for one in reader.known.values():
        window = reference.window_of(states["life"], one.window_start)
        if any(part.aggregate for part in one.meters):
            assert (one.window_start, one.window_end) == window
        for part in one.meters:
            units = reference.units(wanted, "life", one.product, part.meter, one.window_start, states=states)
            expected = units if one.window_start == window[0] else 0
            assert part.consumed == expected, (one.product, part.meter, one.window_start)
