"""Plans: every rule of the pool, at its boundaries.

The tests include the numbers of the refusal.
"""

from datetime import timedelta
from typing import Any

import pytest

from services.allocation.domain.plans import Decided
from shared.events.commands.plans import ApplyPlan
from shared.events.refusals import Refusal
from tests.support.builders.subscriptions import END, NINETY_DAYS, NOW, TICK, accepted, lot, plan, refused, subscription


def allocations(decided: Decided) -> dict[str, int]:
    return {one.product: one.allocated for one in decided.after.state.products}


def test_a_first_allocation_starts_no_clock_and_adds_a_version() -> None:
    decided = accepted(plan(subscription(1000, scan=0, hub=0), scan=600, hub=400))
    assert allocations(decided) == {"scan": 600, "hub": 400}
    assert (decided.kind, decided.starts_clock) == ("allocation", False)
    assert decided.after.state.version == 8
    assert decided.after.state.rebalance.last_at is None
    assert decided.result({}, NOW, preview=True)["unallocated_after"] == 0


def test_units_move_between_products_in_one_step() -> None:
    decided = accepted(plan(subscription(1000, scan=600, hub=400), scan=100, hub=900))
    assert allocations(decided) == {"scan": 100, "hub": 900}
    assert (decided.kind, decided.starts_clock) == ("rebalance", True)
    assert decided.after.state.rebalance.last_at == NOW
    assert decided.after.state.rebalance.next_allowed_at == NOW + NINETY_DAYS
    assert [(one.product, one.before, one.after) for one in decided.changes] == [("scan", 600, 100), ("hub", 400, 900)]
    assert [one.last_lowered_at for one in decided.after.state.products] == [NOW, None]


def test_unchanged_products_of_a_plan_are_not_among_its_changes() -> None:
    decided = accepted(plan(subscription(1000, scan=600, hub=0), scan=600, hub=1))
    assert [one.product for one in decided.changes] == ["hub"]


@pytest.mark.parametrize(
    ("before", "units", "numbers"),
    [
        ({"scan": 0}, {"scan": 1001}, (0, 1001, 1000, 1001)),
        ({"scan": 600, "hub": 300}, {"hub": 401}, (900, 401, 100, 101)),
        ({"scan": 600, "hub": 300}, {"scan": 500, "hub": 501}, (900, 1001, 100, 101)),
    ],
)
def test_a_plan_is_refused_when_it_exceeds_the_pool(
    before: dict[str, Any], units: dict[str, Any], numbers: tuple[int, int, int, int]
) -> None:
    allocated, requested, available, additional = numbers
    assert refused(plan(subscription(1000, **before), **units)) == (
        "insufficient_units",
        {
            "purchased": 1000,
            "allocated": allocated,
            "requested": requested,
            "available": available,
            "additional": additional,
        },
    )


def test_a_plan_is_accepted_when_it_allocates_exactly_the_pool() -> None:
    assert accepted(plan(subscription(1000, scan=600, hub=300), hub=400)).after.state.allocated == 1000


def test_only_lots_that_are_valid_now_count() -> None:
    lots = (lot(100), lot(200, name="past", end=NOW), lot(400, name="future", start=NOW + TICK))
    of = subscription(lots=lots, scan=0)
    assert refused(plan(of, scan=101))[1]["purchased"] == 100
    assert accepted(plan(of, now=NOW - TICK, scan=300))
    assert accepted(plan(of, now=NOW + TICK, scan=500))


def test_a_plan_is_refused_with_both_numbers_when_it_lowers_below_consumption() -> None:
    of = subscription(1000, scan=600)
    assert refused(plan(of, consumed={"scan": 450}, scan=449)) == (
        "below_consumption",
        {"product": "scan", "requested": 449, "consumed": 450},
    )
    assert accepted(plan(of, consumed={"scan": 450}, scan=450))


def test_an_increase_may_stay_below_consumption() -> None:
    assert accepted(plan(subscription(1000, scan=100), consumed={"scan": 450}, scan=200))


@pytest.mark.parametrize(("policy", "code"), [("soft", None), ("reserve", None), ("hard", "below_consumption")])
def test_overage_is_accepted_where_the_policy_permits_it(policy: str, code: str | None) -> None:
    of = subscription(1000, scan=600, policies={"scan": policy})
    decision = plan(of, consumed={"scan": 450}, options={"accept_overage": True}, scan=100)
    assert (decision.code if isinstance(decision, Refusal) else None) == code


def test_a_rebalance_is_too_soon_until_the_ninetieth_day() -> None:
    of = subscription(1000, scan=600, hub=100, last_at=NOW)
    again = NOW + NINETY_DAYS
    code, numbers = refused(plan(of, now=again - TICK, scan=599))
    assert (code, numbers) == ("rebalance_too_soon", {"products": ["scan"]})
    refusal = plan(of, now=again - TICK, scan=599)
    assert isinstance(refusal, Refusal)
    assert refusal.details["next_allowed_at"] == "2026-07-10T00:00:00Z"
    assert accepted(plan(of, now=again, scan=599)).starts_clock


def test_increases_are_accepted_when_a_rebalance_is_too_soon() -> None:
    decided = accepted(plan(subscription(1000, scan=600, last_at=NOW), scan=700))
    assert not decided.starts_clock
    assert decided.after.state.rebalance.last_at == NOW
    assert decided.result({}, NOW, preview=False)["next_allowed_at"] == "2026-07-10T00:00:00Z"


@pytest.mark.parametrize("every_days", [0, 1, 30])
def test_the_days_between_rebalances_are_those_of_the_subscription(every_days: int) -> None:
    of = subscription(1000, scan=600, last_at=NOW, every_days=every_days)
    again = NOW + timedelta(days=every_days)
    if every_days:
        assert refused(plan(of, now=again - TICK, scan=1))[0] == "rebalance_too_soon"
    assert accepted(plan(of, now=again, scan=1))


def test_each_product_has_its_own_clock_when_the_scope_is_the_product() -> None:
    of = subscription(1000, scan=600, hub=300, scope="product", lowered={"scan": NOW}, last_at=NOW)
    assert refused(plan(of, scan=500)) == ("rebalance_too_soon", {"products": ["scan"]})
    assert refused(plan(of, scan=500, hub=200))[0] == "rebalance_too_soon"
    assert of.next_rebalance_at(NOW) is None
    decided = accepted(plan(of, now=NOW + timedelta(days=1), hub=200))
    assert decided.after.next_rebalance_at(NOW + timedelta(days=1)) == NOW + NINETY_DAYS
    assert accepted(plan(of, now=NOW + NINETY_DAYS, scan=500))


def test_an_override_is_accepted_and_starts_the_clock_when_a_rebalance_is_too_soon() -> None:
    of = subscription(1000, scan=600, last_at=NOW - timedelta(days=1))
    decided = accepted(plan(of, options={"override_reason": "a merger"}, scan=500))
    assert decided.starts_clock
    assert decided.after.state.rebalance.last_at == NOW


def test_an_override_is_refused_when_it_breaks_another_rule() -> None:
    of, options = subscription(1000, scan=600, last_at=NOW), {"override_reason": "a merger"}
    assert refused(plan(of, options=options, scan=1001))[0] == "insufficient_units"
    assert refused(plan(of, options=options, consumed={"scan": 2}, scan=1))[0] == "below_consumption"


@pytest.mark.parametrize(
    ("units", "code"),
    [
        ({"scan": 300}, None),
        ({"scan": 400}, None),
        ({"scan": 500, "hub": 100}, None),
        ({"scan": 299}, "rebalance_too_soon"),
        ({"scan": 0, "hub": 301}, "over_allocated"),
        ({"hub": 301}, "over_allocated"),
    ],
)
def test_only_a_cure_is_accepted_when_the_pool_is_over_allocated(units: dict[str, Any], code: str | None) -> None:
    of = subscription(600, scan=600, hub=300, last_at=NOW)
    decision = plan(of, **units)
    if code is None:
        cured = accepted(decision)
        assert not cured.starts_clock
        assert cured.after.state.rebalance.last_at == NOW
        assert {one.last_lowered_at for one in cured.after.state.products} == {None}
    else:
        assert refused(decision)[0] == code
        if code == "over_allocated":
            assert refused(decision)[1] == {"excess": 300}


def test_a_cure_is_refused_when_it_lowers_below_the_floor() -> None:
    of = subscription(600, scan=600, hub=300)
    assert refused(plan(of, consumed={"scan": 590}, scan=400))[0] == "below_consumption"


def test_a_plan_is_a_rebalance_when_it_lowers_more_than_the_excess() -> None:
    assert accepted(plan(subscription(600, scan=600, hub=300), scan=299)).starts_clock


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ([("scan", 600)], "changes"),
        ([("scan", 1), ("hub", 1), ("scan", 2)], "changes.2.product"),
    ],
)
def test_a_plan_without_change_or_with_a_product_twice_is_invalid(changes: list[tuple[str, int]], field: str) -> None:
    options = {"changes": [{"product": product, "units": units} for product, units in changes]}
    code, numbers = refused(plan(subscription(1000, scan=600, hub=0), options=options))
    assert code == "invalid_request"
    assert [one["field"] for one in numbers["errors"]] == [field]
    assert all(one["message"] for one in numbers["errors"])


@pytest.mark.parametrize("units", [-1, 2**53, 2**63, 1.5, 1.0, "5", True, None])
def test_a_command_is_invalid_when_its_units_are(units: Any) -> None:
    with pytest.raises(ValueError, match="units"):
        ApplyPlan.model_validate({"subscription": "s-1", "changes": [{"product": "scan", "units": units}]})


@pytest.mark.parametrize("count", [0, 1001])
def test_a_plan_has_one_to_a_thousand_changes(count: int) -> None:
    changes = [{"product": f"p-{n}", "units": 1} for n in range(count)]
    with pytest.raises(ValueError, match="changes"):
        ApplyPlan.model_validate({"subscription": "s-1", "changes": changes})


def test_a_plan_is_refused_when_a_product_is_not_subscribed() -> None:
    assert refused(plan(subscription(1000, scan=0), hub=1)) == ("product_not_subscribed", {"product": "hub"})


def test_only_lowering_is_accepted_when_a_product_is_retired() -> None:
    of = subscription(1000, scan=10, retired=frozenset({"scan"}))
    assert refused(plan(of, scan=11)) == ("product_retired", {"product": "scan"})
    assert accepted(plan(of, scan=0))


def test_a_plan_is_refused_with_both_versions_when_the_expected_one_is_stale() -> None:
    of = subscription(1000, scan=0)
    assert accepted(plan(of, options={"expected_version": 7}, scan=1))
    for version in (6, 8, 0):
        expected = ("stale_version", {"expected_version": version, "version": 7})
        assert refused(plan(of, options={"expected_version": version}, scan=1)) == expected


@pytest.mark.parametrize(
    ("of", "code"),
    [
        (subscription(1000, scan=0, model="per_product"), "not_a_flex_subscription"),
        (subscription(1000, scan=0, flex_enabled=False), "feature_not_enabled"),
    ],
)
def test_a_plan_is_refused_when_there_is_no_pool(of: Any, code: str) -> None:
    assert refused(plan(of, scan=1))[0] == code


def test_a_plan_is_refused_when_grace_is_over() -> None:
    code, numbers = refused(plan(subscription(1000, scan=5), now=END + timedelta(days=30), scan=1))
    assert (code, numbers) == ("subscription_not_active", {"state": "read_only"})


def test_every_refusal_has_the_time_of_the_next_rebalance() -> None:
    of = subscription(1000, scan=600, last_at=NOW)
    for decision in (
        plan(of, scan=1001),
        plan(of, scan=1, consumed={"scan": 5}),
        plan(of, scan=1),
        plan(of, scan=600),
        plan(of, hub=1),
    ):
        assert isinstance(decision, Refusal)
        assert decision.details["next_allowed_at"] == "2026-07-10T00:00:00Z"
        assert decision.message.endswith(".")
