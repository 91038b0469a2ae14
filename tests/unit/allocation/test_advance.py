"""What happens to a subscription by itself: each at its instant, once, however late or often someone looks."""

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
    """Nothing has happened yet."""
    of = replace(subscription(lots=lots, **allocated), settled_at=START - DAY)
    if terms:
        of = replace(of, state=of.state.model_copy(update={"terms": terms}))
    return of.at(START - DAY)


class Told(NamedTuple):
    """A subscription as it is now, and what happened on the way."""

    subscription: Subscription
    events: tuple[Any, ...]


def look(of: Subscription, now: datetime) -> Told:
    told = advance(of, now)
    return Told(told.subscription, told.events)


def names(events: tuple[Any, ...]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_term_and_its_lots_begin_at_their_instant() -> None:
    of = before_start(lot(100), lot(50, name="later", start=NOW))
    assert next_due(of, of.settled_at) == START
    assert look(of, START - TICK).events == ()
    begun = look(of, START)
    assert names(begun.events) == ["LotStarted", "LifecycleChanged"]
    lot_started, lifecycle = begun.events
    assert (lot_started.lot, lifecycle.before, lifecycle.after) == ("lot-1", "pending", "active")
    state = begun.subscription.state
    assert (state.state, state.version, state.purchased(START)) == ("active", 8, 100)
    assert {event.subscription.version for event in begun.events} == {8}
    later = look(begun.subscription, NOW)
    assert names(later.events) == ["LotStarted"]
    assert later.subscription.state.purchased(NOW) == 150


def test_a_pool_that_shrinks_is_over_allocated_and_nothing_is_cut() -> None:
    of = before_start(lot(500), lot(500, name="short", end=NOW), scan=600, hub=300)
    shrunk = look(of, NOW)
    ended, over = shrunk.events[-2:]
    assert names((ended, over)) == ["LotEnded", "PoolOverAllocated"]
    assert (over.purchased, over.allocated, over.excess) == (500, 900, 400)
    assert shrunk.subscription.state.allocated == 900
    assert refused(plan(shrunk.subscription, scan=601)) == ("over_allocated", {"excess": 400})
    assert look(shrunk.subscription, NOW + DAY).events == ()


def test_after_the_term_come_grace_read_only_and_expiry_while_the_lots_go_on_counting() -> None:
    of = before_start(lot(100), scan=100)
    told = look(of, END + timedelta(days=500))
    changes = [(one.before, one.after) for one in told.events if type(one).__name__ == "LifecycleChanged"]
    assert changes == [("pending", "active"), ("active", "grace"), ("grace", "read_only"), ("read_only", "expired")]
    assert "LotEnded" not in names(told.events)
    assert told.subscription.state.purchased(END + timedelta(days=500)) == 100
    assert next_due(told.subscription, END + timedelta(days=500)) is None


TERMS = (Term(start=START, end=END), Term(start=END, end=NEXT_END))


def test_a_renewed_term_carries_the_allocations_over() -> None:
    of = before_start(lot(100), lot(120, name="lot-2", start=END, end=NEXT_END), terms=TERMS, scan=100)
    told = look(look(of, END - TICK).subscription, END)
    assert names(told.events) == ["TermStarted", "LotEnded", "LotStarted"]
    assert told.events[0].carried_over is True
    state = told.subscription.state
    assert (state.state, state.term, state.purchased(END), state.allocated) == ("active", TERMS[1], 120, 100)


def test_a_smaller_pool_of_a_renewed_term_waits_for_the_primary_contacts_choice() -> None:
    of = before_start(lot(100), lot(70, name="lot-2", start=END, end=NEXT_END), terms=TERMS, scan=60, hub=40)
    told = look(look(of, END - TICK).subscription, END)
    assert names(told.events) == ["TermStarted", "LotEnded", "LotStarted", "PoolOverAllocated"]
    assert told.events[0].carried_over is False
    assert told.events[3].excess == 30
    chosen = plan(told.subscription, now=END + DAY, scan=45, hub=25)
    assert accepted(chosen).starts_clock is False


def test_a_late_renewal_brings_a_subscription_back() -> None:
    late = END + timedelta(days=40)
    terms = (TERMS[0], Term(start=late, end=NEXT_END))
    of = before_start(lot(100), lot(120, name="lot-2", start=late, end=NEXT_END), terms=terms, scan=100)
    told = look(look(of, late - TICK).subscription, late)
    assert names(told.events) == ["TermStarted", "LotEnded", "LotStarted", "LifecycleChanged"]
    assert (told.events[3].before, told.events[3].after) == ("read_only", "active")


def test_a_retired_product_gives_its_units_back_and_starts_no_clock() -> None:
    of = replace(subscription(1000, scan=600, hub=300, retired=frozenset({"scan"})), settled_at=NOW - DAY)
    told = look(of, NOW)
    (ended,) = told.events
    assert (type(ended).__name__, ended.product, ended.because, ended.returned) == (
        "ProductEnded",
        "scan",
        "retired",
        600,
    )
    state = told.subscription.state
    assert (state.allocated, state.rebalance.last_at) == (300, None)
    assert [(one.product, one.allocated, one.ended_at) for one in state.products] == [
        ("scan", 0, NOW),
        ("hub", 300, None),
    ]
    assert look(told.subscription, NOW).events == ()


def test_a_cancelled_subscription_changes_no_more() -> None:
    of = replace(before_start(lot(100)), cancelled_at=START - DAY)
    assert look(of, END).events == ()
    assert next_due(of, START) is None


@st.composite
def lives(draw: Any) -> Subscription:
    """A subscription with lots that begin and end, perhaps renewed in time or late."""
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


@given(lives(), st.lists(st.integers(0, 1000), max_size=6))
def test_it_does_not_matter_how_often_someone_looks(of: Subscription, days: list[int]) -> None:
    at_once = look(of, START + 1000 * DAY)
    step = of
    events: tuple[Any, ...] = ()
    for day in [*sorted(days), 1000]:
        told = look(step, START + day * DAY)
        step, events = told.subscription, events + told.events
    assert without_versions(events) == without_versions(at_once.events)
    assert step.state == at_once.subscription.state


@given(lives(), st.integers(-1, 900), st.integers(0, 400))
def test_nothing_happens_before_it_is_due(of: Subscription, day: int, later: int) -> None:
    now = START + day * DAY
    settled = look(of, now).subscription
    due = next_due(settled, now)
    assert due is None or due > now
    until = min(now + later * DAY, due - TICK if due else datetime.max.replace(tzinfo=now.tzinfo))
    assert look(settled, until).events == ()


@given(lives(), st.integers(0, 1000))
def test_every_event_carries_the_state_as_of_its_instant(of: Subscription, day: int) -> None:
    version = of.state.version
    for event in look(of, START + day * DAY).events:
        state = event.subscription
        assert state.version in (version, version + 1)
        version = state.version
