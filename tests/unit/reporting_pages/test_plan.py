from datetime import timedelta

import pytest

from services.reporting.domain.previews import read_preview
from services.reporting.pages.plan import Draft, changes, encode_plan, parse, present_plan, present_preview
from shared.events.refusals import Refusal
from tests.support.builders.overviews import NOW, overview, product, waiting

BODY = overview(product("Api Guard", 500, 120), product("Risk Hub", 1200, 800), purchased=2000)


def test_plan_may_lower_to_the_floor_when_a_rebalance_is_allowed() -> None:
    plan = present_plan(BODY, NOW, may_allocate=True)
    api_guard, risk_hub = plan.fields
    assert (api_guard.lowest, api_guard.highest) == (120, 500 + 300 + 400)
    assert (risk_hub.lowest, risk_hub.highest) == (800, 1200 + 300 + 380)
    assert plan.status == "You can rebalance today."
    assert (plan.total, plan.free) == (1700, 300)


def test_plan_may_only_raise_while_the_clock_runs_and_shows_its_end() -> None:
    body = overview(*BODY.products, purchased=2000, rebalance=waiting(NOW + timedelta(days=49)))
    plan = present_plan(body, NOW, may_allocate=True)
    assert (plan.fields[0].lowest, plan.fields[0].highest) == (500, 800)
    assert plan.status == "The next rebalance is allowed on 12 January 2027, in 49 days."
    assert plan.rule == "Until then you can allocate the 300 units that are still unallocated."


def test_plan_may_only_lower_while_the_pool_is_over_allocated() -> None:
    body = overview(*BODY.products, purchased=1000, rebalance=waiting(NOW + timedelta(days=49)))
    plan = present_plan(body, NOW, may_allocate=True)
    assert (plan.fields[1].lowest, plan.fields[1].highest) == (800, 1200)
    assert plan.status == "Only lowering is possible now."
    assert plan.free == -700


def test_slider_minimum_is_the_allocation_when_consumption_is_above_it() -> None:
    over = present_plan(overview(product(allocated=900, consumed=1044)), NOW, may_allocate=True).fields[0]
    assert (over.lowest, over.current) == (900, 900)


@pytest.mark.parametrize(
    ("state", "may", "editable"),
    [("active", True, True), ("grace", True, True), ("read_only", True, False), ("active", False, False)],
)
def test_editor_is_shown_only_with_the_permission_in_usable_states(state: str, may: bool, editable: bool) -> None:
    body = overview(product(), state=state)
    assert present_plan(body, NOW, may_allocate=may).editable is editable


def test_plan_has_a_status_without_a_date_when_the_subscription_has_ended() -> None:
    body = overview(product(), state="expired", rebalance=waiting(None))
    assert present_plan(body, NOW, may_allocate=True).status == "Allocations cannot be changed now."


TYPED: list[tuple[str, int | None]] = [
    ("2,600", 2600),
    (" 12 000 ", 12000),
    ("1500", 1500),
    ("1,234,567", 1234567),
    ("1 234 567", 1234567),
    ("12\u202f000", 12000),
    ("12\u00a0000", 12000),
    ("0", 0),
    ("007", 7),
    ("150,5", None),
    ("150, 500", None),
    ("1,50", None),
    ("1,5000", None),
    ("1234,567", None),
    ("1,234 567", None),
    ("1,,500", None),
    (",500", None),
    ("500,", None),
    ("0,500", None),
    ("1.500", None),
    ("1_000", None),
    ("1'000", None),
    ("+5", None),
    ("\u22125", None),
    ("5%", None),
    ("0x10", None),
    ("1/2", None),
    ("\u00bd", None),
    ("\uff11\uff15\uff10", None),
    ("1\u200b5", None),
    ("15\n", None),
    ("1 5", None),
    ("9,007,199,254,740,991", 2**53 - 1),
    ("9,007,199,254,740,992", None),
    ("-5", None),
    ("1.5", None),
    ("1e3", None),
    ("", None),
    ("٣", None),
    (str(2**53 - 1), 2**53 - 1),
    (str(2**53), None),
    ("9" * 400, None),
]


@pytest.mark.parametrize(("text", "units"), TYPED)
def test_units_are_parsed_as_people_type_them(text: str, units: int | None) -> None:
    assert parse(text) == units


def test_changes_are_the_differences_and_unreadable_values_have_a_sentence() -> None:
    changed, unreadable = changes(BODY, Draft(values={"api-guard": "500", "risk-hub": "1,300", "unknown": "7"}))
    assert (changed, unreadable) == ({"risk-hub": 1300}, {})
    _, unreadable = changes(BODY, Draft(values={"api-guard": "many"}))
    assert unreadable == {"api-guard": "Type a whole number of units, zero or more, like 1500 or 1,500."}


def test_refusal_is_shown_beside_the_field_that_caused_it() -> None:
    draft = Draft(values={"api-guard": "100", "risk-hub": "1200"})
    current = {"api-guard": 500, "risk-hub": 1200}
    floor = draft.refused(
        Refusal(code="below_consumption", message="Too low.", details={"product": "api-guard"}), current
    )
    assert (floor.errors, floor.error, floor.offer_overage) == ({"api-guard": "Too low."}, None, True)
    soon = draft.refused(Refusal(code="rebalance_too_soon", message="Not yet."), current)
    assert soon.errors == {"api-guard": "Not yet."}
    short = draft.refused(Refusal(code="insufficient_units", message="Too many."), current)
    assert (short.errors, short.sum_error) == ({}, "Too many.")
    other = draft.refused(Refusal(code="stale_version", message="Changed."), current)
    assert other.error == "Changed."
    named = draft.refused(
        Refusal(
            code="invalid_request",
            message="No.",
            details={"errors": [{"field": "changes.risk-hub", "message": "Bad."}]},
        ),
        current,
    )
    assert named.errors == {"risk-hub": "Bad."}


def test_preview_shows_only_changes_and_whether_the_clock_starts() -> None:
    preview = {
        "before": [
            {"product": "api-guard", "allocated": 500, "consumed": 120},
            {"product": "risk-hub", "allocated": 1200, "consumed": 800},
        ],
        "after": [
            {"product": "api-guard", "allocated": 400, "consumed": 120},
            {"product": "risk-hub", "allocated": 1200, "consumed": 800},
        ],
        "unallocated_after": 400,
        "starts_clock": True,
        "next_allowed_at": "2027-02-22T10:15:00Z",
    }
    shown = present_preview(BODY, read_preview(preview), {"api-guard": 400}, "c1")
    assert [(one.name, one.before, one.after, one.difference, one.utilisation) for one in shown.changes] == [
        ("Api Guard", "500", "400", "\u2212100", "30.0\u202f%")
    ]
    assert shown.consequence == "This is a rebalance. The next one will be allowed on 22 February 2027."
    assert shown.previewed == encode_plan({"api-guard": 400}) == "api-guard=400"
