"""Metering's part of a subscription equals the whole state."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.subscription import read_subscription
from shared.events.state import Meter, Rate, SubscriptionState, Term
from tests.support.builders.metering import START, SUBSCRIPTIONS, subscription

INSTANTS = st.integers(-2_000, 12_000).map(lambda hours: START + timedelta(hours=hours))
METER = Meter(
    meter="scan",
    name="Scans",
    aggregation="sum",
    reset="window",
    rates=tuple(Rate(version=n, units=n, block=1, effective_from=START + timedelta(days=30 * n)) for n in range(1, 12)),
)


@st.composite
def states(draw: st.DrawFn) -> SubscriptionState:
    """Draw states with one to three terms, the rates of some locked."""
    starts = sorted(draw(st.lists(INSTANTS, min_size=1, max_size=3, unique=True)))
    terms = tuple(
        Term(start=start, end=start + timedelta(days=365), rates_locked_at=draw(st.none() | INSTANTS))
        for start in starts
    )
    published = terms if len(terms) > 1 else draw(st.sampled_from([(), terms]))
    changes = {"term": draw(st.sampled_from(terms)), "terms": published, "window_days": draw(st.integers(1, 40))}
    return subscription("sub", ("scan", "web")).model_copy(update=changes)


@given(states(), st.lists(INSTANTS, max_size=5))
def test_terms_windows_and_rates_equal_those_of_the_whole_state(state: SubscriptionState, at: list[datetime]) -> None:
    stored = read_subscription(state.model_dump_json())
    for now in [*at, *(term.start for term in state.all_terms)]:
        term = state.term_at(now)
        assert (stored.term_at(now).start, stored.term_at(now).rates_locked_at) == (term.start, term.rates_locked_at)
        assert stored.calendar.window_at(now) == state.calendar.window_at(now)
        assert stored.rate_of(METER, now) == state.rate_of(METER, now)


def test_every_field_equals_that_of_the_whole_state() -> None:
    ended = SUBSCRIPTIONS[0].products[0].model_copy(update={"ended_at": START, "policy": "hard", "restricted": True})
    state = SUBSCRIPTIONS[0].model_copy(update={"products": (ended, *SUBSCRIPTIONS[0].products[1:])})
    stored = read_subscription(state.model_dump_json())
    for name in ("id", "account", "state", "window_days"):
        assert getattr(stored, name) == getattr(state, name)
    assert len(stored.products) == len(state.products) > 1
    for use, whole in zip(stored.products, state.products, strict=True):
        for name in use.__struct_fields__:
            assert getattr(use, name) == getattr(whole, name)
    assert [one.product for one in stored.active_products] == [one.product for one in state.active_products]
