"""Proposed plans, held to allocation's own rules."""

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.allocation.domain import plans
from services.allocation.domain import rebalance as allocations_clock
from services.allocation.domain.floor import Measured
from services.allocation.domain.plans import Decided
from services.allocation.domain.subscriptions import Subscription
from services.reporting.domain.insights.evidence import find_evidence
from services.reporting.domain.insights.facts import Facts
from services.reporting.domain.insights.needs import can_be_lowered
from services.reporting.domain.insights.proposed_plan import NoProposal, Proposal
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.ids import ProductId, SubscriptionId
from shared.events.state import RebalanceClock, SubscribedProduct
from tests.support.builders.insights import BEGAN, PRESENT, a_lot, facts_of, insights_now, state_of, windows

USED, IDLE = [400] * 12 + [380], [20] * 13


def plan_of(facts: Facts) -> Proposal | NoProposal:
    """Return the plan that is proposed now."""
    return insights_now(facts).plan


def changes_of(facts: Facts) -> dict[str, tuple[int, int]]:
    """Return the proposed changes; empty: there is no proposal."""
    plan = plan_of(facts)
    return {one.product: (one.before, one.after) for one in plan.changes} if isinstance(plan, Proposal) else {}


def reason_of(facts: Facts) -> str:
    """Return why there is no proposal."""
    plan = plan_of(facts)
    assert isinstance(plan, NoProposal)
    return plan.reason


def two(allocated: dict[str, int], purchased: int, *, now: Any = PRESENT, **more: Any) -> Facts:
    """Build a subscription whose product ``scan`` is used, and whose ``hub`` is not."""
    state = state_of(allocated, purchased, **more)
    return facts_of(state, [*windows(USED), *windows(IDLE, "hub")], now)


def decided_by_allocation(facts: Facts, plan: Proposal) -> Any:
    """Decide the plan as allocation does."""
    state = facts.subscription
    measured = tuple(
        Measured(ProductId(row.product), row.start, row.end, 1, row.level, row.burned_down) for row in facts.rows
    )
    subscription = Subscription(state, facts.flex_enabled, settled_at=facts.now, measured=measured)
    command = ApplyPlan(
        subscription=SubscriptionId(state.id),
        changes=tuple(PlannedChange(product=ProductId(one.product), units=one.after) for one in plan.changes),
        expected_version=plan.for_version,
    )
    return plans.decide(subscription.at(facts.now), command, subscription.consumptions_at(facts.now), facts.now)


def test_unallocated_units_are_given_first() -> None:
    facts = two({"scan": 300, "hub": 200}, 600)
    assert changes_of(facts) == {"scan": (300, 400)}
    plan = plan_of(facts)
    assert isinstance(plan, Proposal)
    assert (plan.unmet_before, plan.unmet_after, plan.for_version) == (100, 0, 7)
    assert plan.sentence == (
        "Raise Scan to 400 Units. It gives out 100 unallocated Units. What the products are expected to need until "
        "3 October beyond their allocations falls from 100 to 0."
    )


def test_a_donor_keeps_five_percent_more_than_it_needs() -> None:
    assert changes_of(two({"scan": 300, "hub": 200}, 500)) == {"scan": (300, 400), "hub": (200, 100)}
    assert changes_of(two({"scan": 300, "hub": 110}, 410)) == {"scan": (300, 389), "hub": (110, 21)}
    partial = plan_of(two({"scan": 300, "hub": 110}, 410))
    assert isinstance(partial, Proposal)
    assert partial.unmet_after == 11
    assert partial.sentence.endswith("falls from 100 to 11. To meet all of it, buy 11 more.")


def test_a_product_subscribed_to_for_fewer_than_three_windows_gives_nothing() -> None:
    new = {"hub": PRESENT - timedelta(days=40)}
    assert changes_of(two({"scan": 300, "hub": 200}, 500, subscribed_at=new)) == {}
    old = {"hub": PRESENT - timedelta(days=51)}
    assert changes_of(two({"scan": 300, "hub": 200}, 500, subscribed_at=old)) != {}


def test_a_donor_is_judged_by_closed_windows_and_not_by_the_open_one() -> None:
    rows = [*windows(USED), *windows([*[150] * 12, 0], "hub")]
    facts = facts_of(state_of({"scan": 300, "hub": 200}, 500), rows)
    assert changes_of(facts)["hub"] == (200, 158)


def test_nothing_is_lowered_while_the_clock_runs() -> None:
    last = PRESENT - timedelta(days=30)
    clock = RebalanceClock(every_days=90, last_at=last, next_allowed_at=last + timedelta(days=90))
    facts = two({"scan": 300, "hub": 200}, 500, rebalance=clock)
    assert reason_of(facts) == (
        "Until 3 September the products are expected to need 100 Units more than they are allocated, but none are "
        "unallocated and no other product can spare any. Allocations may be lowered again from 3 September. Buy more "
        "units to meet the need."
    )
    assert changes_of(two({"scan": 300, "hub": 200}, 520, rebalance=clock)) == {"scan": (300, 320)}


def test_there_is_a_reason_where_no_plan_helps() -> None:
    assert reason_of(two({"scan": 500, "hub": 200}, 700)) == (
        "No product is expected to need more than it is allocated until 3 October."
    )
    assert "No product is expected" in reason_of(facts_of(state_of({}, 100), []))
    assert "not a flex subscription" in reason_of(two({"scan": 300, "hub": 200}, 500, model="per_product"))
    assert "while the subscription is read only" in reason_of(two({"scan": 300}, 500, state="read_only"))
    disabled = facts_of(state_of({"scan": 300}, 500), windows(USED), flex_enabled=False)
    assert "not enabled" in reason_of(disabled)


def test_an_over_allocated_pool_is_cured_by_what_products_spare() -> None:
    facts = two({"scan": 500, "hub": 300}, 700)
    assert changes_of(facts) == {"hub": (300, 200)}
    plan = plan_of(facts)
    assert isinstance(plan, Proposal)
    assert plan.sentence == (
        "Lower Hub to 200 Units. So the 100 Units that are allocated beyond the purchased ones are taken back."
    )
    waiting = RebalanceClock(every_days=90, last_at=PRESENT, next_allowed_at=PRESENT + timedelta(days=90))
    assert changes_of(two({"scan": 500, "hub": 300}, 700, rebalance=waiting)) == {"hub": (300, 200)}


def test_an_over_allocated_pool_is_cured_down_to_the_floor_and_not_below() -> None:
    assert changes_of(two({"scan": 500, "hub": 30}, 441)) == {"scan": (500, 420), "hub": (30, 21)}
    assert changes_of(two({"scan": 500, "hub": 30}, 421)) == {"scan": (500, 400), "hub": (30, 21)}
    reason = reason_of(two({"scan": 500, "hub": 30}, 419))
    assert reason == (
        "111 Units more are allocated than purchased, but the products consume 420 of 419. Buy units, or unsubscribe "
        "from a product."
    )


def test_a_retired_product_gets_nothing() -> None:
    facts = two({"scan": 300, "hub": 200}, 600)
    retired = facts.catalogue["scan"].model_copy(update={"retired_at": PRESENT})
    catalogue = {**facts.catalogue, "scan": retired}
    assert changes_of(Facts(facts.subscription, catalogue, True, facts.rows, facts.now)) == {}


def test_a_restricted_product_and_units_by_the_trillion_are_planned_for() -> None:
    big = 10**12
    rows = [*windows([3 * big] * 13), *windows([0] * 13, "hub")]
    state = state_of({"scan": 2 * big, "hub": 2 * big}, 4 * big)
    products = (state.products[0].model_copy(update={"restricted": True}), state.products[1])
    facts = facts_of(state.model_copy(update={"products": products}), rows)
    assert changes_of(facts) == {"scan": (2 * big, 3 * big), "hub": (2 * big, big)}


def test_what_is_needed_by_the_terms_end_is_enough() -> None:
    growing = [100 + 10 * number for number in range(12)] + [10]
    far = facts_of(state_of({"scan": 200}, 1000), windows(growing))
    ends = PRESENT + timedelta(days=1)
    near = facts_of(
        far.subscription.model_copy(update={"term": far.subscription.term.model_copy(update={"end": ends})}),
        windows(growing),
    )
    assert changes_of(near)["scan"][1] < changes_of(far)["scan"][1]


Levels = st.lists(st.one_of(st.none(), st.integers(0, 600)), min_size=0, max_size=13)


@st.composite
def subscriptions(draw: st.DrawFn) -> Facts:
    """Draw a subscription of any kind, with its windows."""
    names = [f"p{number}" for number in range(draw(st.integers(0, 5)))]
    burning = [name for name in names if draw(st.booleans())]
    allocated = {name: draw(st.integers(0, 800)) for name in names}
    day, scope = draw(st.integers(0, 420)), draw(st.sampled_from(["subscription", "product"]))
    now = BEGAN + timedelta(days=day, hours=1)
    times = st.one_of(st.none(), st.integers(0, 420).map(lambda one: BEGAN + timedelta(days=min(one, day))))
    last = draw(times)
    clock = RebalanceClock(every_days=draw(st.sampled_from([0, 30, 90])), scope=scope, last_at=last)
    state = state_of(
        allocated,
        lots=[a_lot(units) for units in [draw(st.integers(0, 3000))] if units],
        rebalance=clock,
        subscribed_at={name: draw(times) or BEGAN for name in names},
    )
    products = tuple(one.model_copy(update={"last_lowered_at": draw(times)}) for one in state.products)
    state = state.model_copy(update={"products": products})
    lifecycle = Subscription(state, flex_enabled=True, settled_at=now).at(now).state
    rows = [row for name in names for row in windows([one or 0 for one in draw(Levels)], name, burns=name in burning)]
    return facts_of(lifecycle, [row for row in rows if row.start <= now], now, burning=burning)


@settings(max_examples=400, deadline=None)
@given(subscriptions())
def test_every_proposed_plan_is_accepted_by_allocation(facts: Facts) -> None:
    plan = plan_of(facts)
    if isinstance(plan, NoProposal):
        assert plan.reason.endswith(".")
        return
    decided = decided_by_allocation(facts, plan)
    assert isinstance(decided, Decided), decided
    assert len(decided.changes) == len(plan.changes)
    lowers = any(one.after < one.before for one in plan.changes)
    assert decided.starts_clock == (lowers and facts.subscription.allocated <= facts.subscription.purchased(facts.now))
    if facts.subscription.allocated <= facts.subscription.purchased(facts.now):
        assert plan.unmet_after < plan.unmet_before


Instants = st.one_of(st.none(), st.integers(0, 200).map(lambda day: BEGAN + timedelta(days=day)))


@given(st.sampled_from(["subscription", "product"]), st.integers(0, 100), Instants, Instants, st.integers(0, 300))
def test_the_clock_agrees_with_allocations(scope: Any, every: int, last: Any, lowered: Any, day: int) -> None:
    clock = RebalanceClock(every_days=every, scope=scope, last_at=last)
    product = SubscribedProduct(product="scan", allocated=1, subscribed_at=BEGAN, last_lowered_at=lowered)
    now = BEGAN + timedelta(days=day)
    state = state_of({"scan": 1}, rebalance=clock)
    waits = allocations_clock.waits_until(clock, [product], now)
    assert can_be_lowered(state, product, now) == (waits is None)


def test_evidence_has_the_figures_of_the_closed_windows() -> None:
    facts = two({"scan": 300, "hub": 200}, 600)
    over, under = insights_now(facts).evidence
    assert (over.finding, over.product, over.allocated, over.consumed) == ("over", "scan", 300, 380)
    assert [(one.consumed, one.utilisation) for one in over.windows] == [(400, 133.3)] * 3
    assert over.sentence == "Scan consumes 380 and has 300 Units; in the last closed windows it consumed 400, 400, 400."
    assert under.finding == "under"
    assert under.sentence == (
        "Hub used less than half of its 200 Units in each of the last 3 closed windows: 20, 20, 20."
    )
    assert [one.start for one in under.windows] == sorted((one.start for one in under.windows), reverse=True)


def test_over_use_stays_shown_when_a_window_has_just_begun() -> None:
    rows = windows([*[400] * 12, 0])
    (found,) = insights_now(facts_of(state_of({"scan": 300}, 600), rows)).evidence
    assert (found.finding, found.consumed) == ("over", 0)
    mixed = windows([*[400] * 11, 290, 0])
    assert insights_now(facts_of(state_of({"scan": 300}, 600), mixed)).evidence == ()


def test_an_idle_product_is_under_used_and_a_new_one_is_nothing() -> None:
    facts = facts_of(state_of({"scan": 300}, 600), [])
    (found,) = insights_now(facts).evidence
    assert (found.finding, found.sentence) == ("idle", "Scan had no usage in the last 3 closed windows.")
    new = state_of({"scan": 300}, 600, subscribed_at={"scan": PRESENT - timedelta(days=1)})
    assert insights_now(facts_of(new, [])).evidence == ()
    assert find_evidence((), {}, "Units") == ()
