"""Spans in which usage counts, computed from the state alone."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.spans import NEVER_US, change, microseconds, spans_of
from services.metering.domain.subscription import Subscription, read_subscription
from shared.events.state import SubscriptionState
from tests.support.builders.lifecycles import cancelled, changed, gave_up, renewed, subscribed, took_again
from tests.support.builders.metering import START, subscription
from tests.support.references import usage as reference

STATE = subscription("spans", ("scan", "calls"))
END, TINY = STATE.term.end, timedelta(microseconds=1)
MIDDLE, LATER = START + timedelta(days=100), START + timedelta(days=200)


def read(state: SubscriptionState) -> Subscription:
    return read_subscription(state.model_dump_json())


def reasons(state: SubscriptionState, product: str, *instants: datetime) -> list[str | None]:
    spans = spans_of(read(state))
    return [spans.reason_at(product, microseconds(at)) for at in instants]


def test_spans_are_half_open_at_their_ends() -> None:
    around_start, around_end, around = (START - TINY, START), (END - TINY, END), (MIDDLE - TINY, MIDDLE)
    assert reasons(STATE, "scan", *around_start, *around_end) == ["before_start", None, None, "after_end"]
    assert reasons(renewed(STATE), "scan", *around_end) == [None, None]
    assert reasons(renewed(STATE, END + TINY), "scan", *around_end, END + TINY) == [None, "after_end", None]
    assert reasons(cancelled(STATE, MIDDLE), "scan", *around) == [None, "after_end"]
    assert reasons(cancelled(renewed(STATE), MIDDLE), "scan", END) == ["after_end"]
    without = gave_up(STATE, "scan", MIDDLE)
    assert reasons(without, "scan", *around) == [None, "product_not_subscribed"]
    assert reasons(without, "calls", *around) == [None, None]
    again = took_again(without, "scan", LATER)
    assert reasons(again, "scan", MIDDLE, LATER - TINY, LATER) == ["product_not_subscribed"] * 2 + [None]
    assert reasons(subscribed(STATE, "web", LATER), "web", START, LATER) == [None, None], "the first begins with it"
    assert reasons(STATE, "web", START) == ["product_not_subscribed"]


def test_there_is_no_gap_when_a_product_is_taken_again_at_once() -> None:
    assert (
        reasons(took_again(gave_up(STATE, "scan", MIDDLE), "scan", MIDDLE), "scan", MIDDLE - TINY, MIDDLE) == [None] * 2
    )


def test_a_cancellation_before_the_start_leaves_nothing() -> None:
    assert reasons(cancelled(STATE, START - TINY), "scan", START, MIDDLE) == ["after_end"] * 2


@given(st.sampled_from([START, MIDDLE, LATER, END]), st.integers(-1, 1), st.integers(0, 6))
def test_spans_agree_with_the_reference(edge: datetime, shift: int, which: int) -> None:
    states = [STATE, renewed(STATE), cancelled(STATE, MIDDLE), gave_up(STATE, "scan", MIDDLE)]
    states += [took_again(states[3], "scan", LATER), cancelled(took_again(states[3], "scan", LATER), END)]
    states += [renewed(STATE, END + 2 * TINY)]
    state, at = states[which], edge + shift * TINY
    spans = spans_of(read(state))
    is_in = spans.reason_at("scan", microseconds(at)) is None
    assert is_in == reference.counts(state, "scan", at)
    in_gap = any(start <= microseconds(at) < end for start, end in spans.gaps("scan", microseconds(START - TINY)))
    assert is_in != in_gap


def test_there_is_a_change_only_when_counted_usage_is_affected() -> None:
    before = read(STATE)
    assert change(before, read(changed(STATE))) is None
    assert change(before, read(subscribed(STATE, "web", LATER))) is None, "nothing of it was counted"
    extended = change(before, read(renewed(STATE)))
    assert extended == (microseconds(END), False, True, False), "windows with counted usage are unchanged"
    assert change(before, read(cancelled(STATE, MIDDLE))) == (microseconds(MIDDLE), True, False, False)
    without = gave_up(STATE, "scan", MIDDLE)
    assert change(before, read(without)) == (microseconds(MIDDLE), True, False, False)
    assert change(read(without), read(took_again(without, "scan", LATER))) == (microseconds(LATER), False, False, False)
    term = STATE.term.model_copy(update={"end": MIDDLE})
    cut = renewed(changed(STATE, term=term, terms=(term,)))
    assert change(before, read(cut)) == (microseconds(MIDDLE), False, True, True)
    ended = read(gave_up(renewed(STATE), "scan", MIDDLE))
    shortened = change(ended, read(cancelled(gave_up(renewed(STATE), "scan", MIDDLE), LATER)))
    assert shortened == (microseconds(LATER), True, False, False), "earlier removals of a product are not repeated"
    assert microseconds(END) < NEVER_US
