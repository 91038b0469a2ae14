"""Changes of a subscription without a command.

They are made once and as of their time, however late or often the subscription is advanced.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from services.allocation.domain.advance import advance, next_due
from services.allocation.domain.subscriptions import Subscription
from shared.events.state import Lot, Term
from tests.support.builders.subscriptions import END, NOW, START, TICK, accepted, lot, plan, refused, subscription

DAY = timedelta(days=1)
NEXT_END = END + timedelta(days=365)


def before_start(*lots: Lot, terms: tuple[Term, ...] = (), **allocated: Any) -> Subscription:
    """A subscription a day before its start."""
    of = replace(subscription(lots=lots, **allocated), settled_at=START - DAY)
    if terms:
        of = replace(of, state=of.state.model_copy(update={"terms": terms}))
    return of.at(START - DAY)


class Advanced(NamedTuple):
    """A subscription brought up to date, and its events."""

    subscription: Subscription
    events: tuple[Any, ...]


def advance_to(of: Subscription, now: datetime) -> Advanced:
    advanced = advance(of, now)
    return Advanced(advanced.subscription, advanced.events)


def names(events: tuple[Any, ...]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_term_and_its_lots_begin_at_their_start() -> None:
    of = before_start(lot(100), lot(50, name="later", start=NOW))
    assert next_due(of, of.settled_at) == START
    assert advance_to(of, START - TICK).events == ()
    begun = advance_to(of, START)
    assert names(begun.events) == ["LotStarted", "LifecycleChanged"]
    lot_started, lifecycle = begun.events
    assert (lot_started.lot, lifecycle.before, lifecycle.after) == ("lot-1", "pending", "active")
    state = begun.subscription.state
    assert (state.state, state.version, state.purchased(START)) == ("active", 8, 100)
    assert {event.subscription.version for event in begun.events} == {8}
    later = advance_to(begun.subscription, NOW)
    assert names(later.events) == ["LotStarted"]
    assert later.subscription.state.purchased(NOW) == 150


def test_allocations_are_unchanged_and_reported_as_excess_when_the_pool_shrinks() -> None:
    of = before_start(lot(500), lot(500, name="short", end=NOW), scan=600, hub=300)
    shrunk = advance_to(of, NOW)
    ended, over = shrunk.events[-2:]
    assert names((ended, over)) == ["LotEnded", "PoolOverAllocated"]
    assert (over.purchased, over.allocated, over.excess) == (500, 900, 400)
    assert shrunk.subscription.state.allocated == 900
    assert refused(plan(shrunk.subscription, scan=601)) == ("over_allocated", {"excess": 400})
    assert advance_to(shrunk.subscription, NOW + DAY).events == ()


def test_lots_go_on_counting_when_the_subscription_passes_grace_read_only_and_expiry() -> None:
    of = before_start(lot(100), scan=100)
    advanced = advance_to(of, END + timedelta(days=500))
    changes = [(one.before, one.after) for one in advanced.events if type(one).__name__ == "LifecycleChanged"]
    assert changes == [("pending", "active"), ("active", "grace"), ("grace", "read_only"), ("read_only", "expired")]
    assert "LotEnded" not in names(advanced.events)
    assert advanced.subscription.state.purchased(END + timedelta(days=500)) == 100
    assert next_due(advanced.subscription, END + timedelta(days=500)) is None


TERMS = (Term(start=START, end=END), Term(start=END, end=NEXT_END))


def test_allocations_are_carried_over_when_a_renewed_term_begins() -> None:
    of = before_start(lot(100), lot(120, name="lot-2", start=END, end=NEXT_END), terms=TERMS, scan=100)
    advanced = advance_to(advance_to(of, END - TICK).subscription, END)
    assert names(advanced.events) == ["TermStarted", "LotEnded", "LotStarted"]
    assert advanced.events[0].carried_over is True
    state = advanced.subscription.state
    assert (state.state, state.term, state.purchased(END), state.allocated) == ("active", TERMS[1], 120, 100)


def test_the_pool_is_over_allocated_when_the_renewed_term_has_fewer_units() -> None:
    of = before_start(lot(100), lot(70, name="lot-2", start=END, end=NEXT_END), terms=TERMS, scan=60, hub=40)
    advanced = advance_to(advance_to(of, END - TICK).subscription, END)
    assert names(advanced.events) == ["TermStarted", "LotEnded", "LotStarted", "PoolOverAllocated"]
    assert advanced.events[0].carried_over is False
    assert advanced.events[3].excess == 30
    chosen = plan(advanced.subscription, now=END + DAY, scan=45, hub=25)
    assert accepted(chosen).starts_clock is False


def test_a_read_only_subscription_becomes_active_when_a_late_renewal_begins() -> None:
    late = END + timedelta(days=40)
    terms = (TERMS[0], Term(start=late, end=NEXT_END))
    of = before_start(lot(100), lot(120, name="lot-2", start=late, end=NEXT_END), terms=terms, scan=100)
    advanced = advance_to(advance_to(of, late - TICK).subscription, late)
    assert names(advanced.events) == ["TermStarted", "LotEnded", "LotStarted", "LifecycleChanged"]
    assert (advanced.events[3].before, advanced.events[3].after) == ("read_only", "active")


def test_units_are_returned_without_a_rebalance_when_a_product_is_retired() -> None:
    of = replace(subscription(1000, scan=600, hub=300, retired=frozenset({"scan"})), settled_at=NOW - DAY)
    advanced = advance_to(of, NOW)
    (ended,) = advanced.events
    assert (type(ended).__name__, ended.product, ended.because, ended.returned) == (
        "ProductEnded",
        "scan",
        "retired",
        600,
    )
    state = advanced.subscription.state
    assert (state.allocated, state.rebalance.last_at) == (300, None)
    assert [(one.product, one.allocated, one.ended_at) for one in state.products] == [
        ("scan", 0, NOW),
        ("hub", 300, None),
    ]
    assert advance_to(advanced.subscription, NOW).events == ()


def test_nothing_is_due_when_the_subscription_is_cancelled() -> None:
    of = replace(before_start(lot(100)), cancelled_at=START - DAY)
    assert advance_to(of, END).events == ()
    assert next_due(of, START) is None


@st.composite
def lifecycles(draw: Any) -> Subscription:
    """A subscription with lots that begin and end.

    It may have a renewal, in time or late.
    """
    days = st.integers(0, 365)
    terms = [TERMS[0]]
    if draw(st.booleans()):
        start = END + draw(st.sampled_from([0, 10, 40, 200])) * DAY
        terms.append(Term(start=start, end=start + 365 * DAY))
    lots = []
    for n in range(draw(st.integers(0, 5))):
        term = draw(st.sampled_from(terms))
        first, last = sorted((draw(days), draw(days)))
        lots.append(lot(10 * (n + 1), name=f"l-{n}", start=term.start + first * DAY, end=term.start + (last + 1) * DAY))
    return before_start(*lots, terms=tuple(terms), scan=draw(st.integers(0, 60)))


def without_versions(events: tuple[Any, ...]) -> list[Any]:
    return [event.model_dump(exclude={"subscription": {"version"}}) for event in events]


@given(lifecycles(), st.lists(st.integers(0, 1000), max_size=6))
def test_events_are_the_same_however_often_a_subscription_is_advanced(of: Subscription, days: list[int]) -> None:
    at_once = advance_to(of, START + 1000 * DAY)
    step = of
    events: tuple[Any, ...] = ()
    for day in [*sorted(days), 1000]:
        advanced = advance_to(step, START + day * DAY)
        step, events = advanced.subscription, events + advanced.events
    assert without_versions(events) == without_versions(at_once.events)
    assert step.state == at_once.subscription.state


@given(lifecycles(), st.integers(-1, 900), st.integers(0, 400))
def test_no_change_is_made_before_the_due_time(of: Subscription, day: int, later: int) -> None:
    now = START + day * DAY
    settled = advance_to(of, now).subscription
    due = next_due(settled, now)
    assert due is None or due > now
    until = min(now + later * DAY, due - TICK if due else datetime.max.replace(tzinfo=now.tzinfo))
    assert advance_to(settled, until).events == ()


@given(lifecycles(), st.integers(0, 1000))
def test_versions_of_consecutive_events_grow_by_at_most_one(of: Subscription, day: int) -> None:
    version = of.state.version
    for event in advance_to(of, START + day * DAY).events:
        state = event.subscription
        assert state.version in (version, version + 1)
        version = state.version
