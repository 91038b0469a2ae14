"""Terms: renewals, rate locks, voided lots, cancellation and conversion."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.allocation.domain import lots, subscriptions
from services.allocation.domain.advance import advance, conclude
from services.allocation.domain.subscriptions import Subscription
from services.allocation.domain.terms import lock_rates, renew
from shared.events.allocation import LifecycleChanged, TermStarted
from shared.events.commands.subscriptions import PurchaseLot, RenewSubscription, VoidLot
from shared.events.ids import MeterId
from shared.events.state import Meter, Rate
from shared.units import MAX_UNITS
from tests.support.builders.subscriptions import END, NOW, START, TICK, lot, refused, subscription

NEXT_END = END + timedelta(days=365)
GRACE = END + timedelta(days=10, hours=3, minutes=7)


def asked(**changes: Any) -> RenewSubscription:
    good = {"subscription": "s-1", "end": NEXT_END, "units": 500, "order_reference": "PO-2", "lot": "l-2"}
    return RenewSubscription.model_validate(good | changes)


def renewed(of: Subscription, now: datetime = NOW, **changes: Any) -> Subscription:
    result = renew(of, asked(**changes), now)
    assert isinstance(result, tuple), result
    return result[0]


def test_a_renewal_follows_the_present_term_and_brings_its_pool() -> None:
    result = renew(subscription(1000, scan=600), asked(), NOW)
    assert isinstance(result, tuple)
    of, term, bought = result
    assert (term.start, term.end, term.rates_locked_at) == (END, NEXT_END, None)
    assert bought is not None
    assert (bought.start, bought.end, bought.units) == (END, NEXT_END, 500)
    assert (of.state.term.end, of.state.purchased(NOW), of.state.purchased(END)) == (END, 1000, 500)
    assert (of.state.allocated, of.state.version) == (600, 8)


@pytest.mark.parametrize("now", [END - TICK, END, END + TICK, GRACE, END + timedelta(days=119)])
def test_a_renewed_term_begins_at_the_end_of_the_last_one_when_it_is_sold_late(now: datetime) -> None:
    of = renewed(replace(subscription(1000, scan=400), exhausted=True), now)
    assert of.state.all_terms[-1].start == END
    assert of.lifecycle_at(now) == ("exhausted" if now < END else "active")
    assert of.state.purchased(now) == (1000 if now < END else 500)


def test_a_renewed_term_begins_later_when_a_start_is_given() -> None:
    later = END + timedelta(days=3)
    for now in (NOW, END, later - TICK):
        of = renewed(subscription(1000), now, start=later)
        assert (of.state.all_terms[-1].start, of.lifecycle_at(END), of.lifecycle_at(later)) == (
            later,
            "grace",
            "active",
        )
    sold = renewed(subscription(1000), later + TICK, start=later)
    assert sold.lifecycle_at(later + TICK) == "active"


def test_the_start_of_a_term_is_published_with_the_renewal_when_it_is_past() -> None:
    before = replace(subscription(1000, scan=600), settled_at=GRACE).at(GRACE)
    result = renew(before, asked(), GRACE)
    assert isinstance(result, tuple)
    concluded = conclude(before, result[0], GRACE)
    assert [type(one).__name__ for one in concluded.events] == [
        "TermStarted",
        "LotEnded",
        "LotStarted",
        "LifecycleChanged",
        "PoolOverAllocated",
    ]
    started, changed = concluded.events[0], concluded.events[3]
    assert isinstance(started, TermStarted)
    assert not started.carried_over
    assert isinstance(changed, LifecycleChanged)
    assert (changed.before, changed.after) == ("grace", "active")
    assert advance(concluded.subscription, GRACE + TICK).events == ()


def test_a_renewal_is_refused_when_there_is_a_future_term() -> None:
    once = renewed(subscription(1000))
    assert refused(renew(once, asked(lot="l-3"), NOW))[0] == "already_exists"
    assert isinstance(renew(once, asked(lot="l-3", end=NEXT_END + timedelta(days=1)), END), tuple)
    assert refused(renew(subscription(1000), asked(lot="lot-1"), NOW)) == ("already_exists", {"id": "lot-1"})


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"end": END}, ["end"]),
        ({"start": END - TICK}, ["start"]),
        ({"start": NEXT_END}, ["end"]),
        ({"start": datetime(3000, 1, 1, tzinfo=END.tzinfo)}, ["start", "end"]),
        ({"units": None}, ["units"]),
        ({"lot": None, "order_reference": None}, ["order_reference", "lot"]),
        ({"units": MAX_UNITS}, ["units"]),
        ({"end": datetime(3000, 1, 1, tzinfo=END.tzinfo)}, ["end"]),
    ],
)
def test_a_renewal_is_refused_with_its_fields_when_they_are_invalid(changes: dict[str, Any], fields: list[str]) -> None:
    code, numbers = refused(renew(subscription(1000), asked(**changes), NOW))
    assert (code, [one["field"] for one in numbers["errors"]]) == ("invalid_request", fields)


def test_a_renewal_is_refused_when_its_term_is_over() -> None:
    code, numbers = refused(renew(subscription(1000), asked(end=GRACE), GRACE))
    assert (code, [one["field"] for one in numbers["errors"]]) == ("invalid_request", ["end"])


def test_per_product_licensing_is_renewed_without_units() -> None:
    of = subscription(model="per_product", lots=())
    nothing: dict[str, Any] = {"units": None, "order_reference": None, "lot": None}
    assert renewed(of, **nothing).state.lots == ()
    _, numbers = refused(renew(of, asked(), NOW))
    assert [one["field"] for one in numbers["errors"]] == ["units", "order_reference", "lot"]


def test_a_top_up_for_a_future_term_must_lie_within_it() -> None:
    of = renewed(subscription(1000))
    ahead = PurchaseLot(subscription="s-1", lot="l-3", units=5, order_reference="PO", start=END + timedelta(days=1))
    bought = lots.purchase(of, ahead, NOW)
    assert isinstance(bought, tuple)
    assert bought[1].end == NEXT_END
    across = ahead.model_copy(update={"start": NOW, "end": NEXT_END})
    assert refused(lots.purchase(of, across, NOW))[1]["errors"][0]["field"] == "end"
    past = ahead.model_copy(update={"start": NOW, "end": END})
    assert refused(lots.purchase(of, past, END + timedelta(days=1)))[1]["errors"][0]["field"] == "start"


def test_rates_are_locked_until_the_term_ends() -> None:
    def rate(version: int, at: datetime) -> Rate:
        return Rate(version=version, units=version, block=1, effective_from=at)

    meter = Meter(
        meter=MeterId("host"), name="Host", aggregation="unique", reset="window", rates=(rate(1, START), rate(2, NOW))
    )
    before, window = NOW - TICK, NOW + timedelta(days=20)
    locked = lock_rates(subscription(1000), locked=True, now=before)
    assert isinstance(locked, Subscription)
    assert (locked.state.term.rates_locked_at, locked.state.version) == (before, 8)
    assert locked.state.rate_of(meter, window).version == 1
    assert lock_rates(locked, locked=True, now=NOW) is locked
    following = renewed(locked)
    assert following.state.rate_of(meter, END).version == 2
    assert renewed(locked, before, lock_rates=True).state.rate_of(meter, END).version == 1
    assert refused(lock_rates(locked, locked=False, now=NOW))[1]["errors"][0]["field"] == "locked"
    unlocked = subscription(1000)
    assert lock_rates(unlocked, locked=False, now=NOW) is unlocked


def test_a_lot_is_voided_once_and_stays_in_the_state() -> None:
    of = subscription(lots=(lot(1000), lot(500, name="wrong")), scan=1200)
    asked = VoidLot(subscription="s-1", lot="wrong", reason="typing error")
    voided = lots.void(of, asked, NOW)
    assert isinstance(voided, tuple)
    after, gone = voided
    assert (after.state.purchased(NOW), after.state.allocated, after.state.rebalance.last_at) == (1000, 1200, None)
    assert (gone.voided_at, gone.void_reason, len(after.state.lots)) == (NOW, "typing error", 2)
    assert refused(lots.void(after, asked, NOW))[1]["errors"][0]["field"] == "lot"
    assert refused(lots.void(of, asked.model_copy(update={"lot": "none"}), NOW))[0] == "not_found"


def test_commands_are_refused_when_the_subscription_is_cancelled() -> None:
    cancelled = subscriptions.cancel(subscription(1000, scan=600), NOW)
    assert isinstance(cancelled, Subscription)
    assert (cancelled.state.state, cancelled.state.allocated) == ("cancelled", 600)
    assert refused(subscriptions.cancel(cancelled, NOW)) == ("subscription_not_active", {"state": "cancelled"})
    assert refused(renew(cancelled, asked(), NOW))[0] == "subscription_not_active"


def test_a_per_product_subscription_has_a_pool_when_it_is_converted() -> None:
    of = subscription(model="per_product", lots=())
    converted = subscriptions.convert(of, NOW)
    assert isinstance(converted, Subscription)
    assert (converted.state.model, converted.state.purchased(NOW)) == ("flex", 0)
    assert subscriptions.convert(converted, NOW) is converted
    assert refused(subscriptions.convert(replace(of, flex_enabled=False), NOW))[0] == "feature_not_enabled"
    assert refused(subscriptions.convert(of, END + timedelta(days=200)))[0] == "subscription_not_active"
