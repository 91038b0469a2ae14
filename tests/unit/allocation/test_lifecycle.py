"""States of a subscription, and the commands that each permits."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import get_args

import pytest

from services.allocation.domain.lifecycle import FLEX, PERMITS, state_at
from services.allocation.domain.permissions import ACTIONS, Action
from services.allocation.domain.subscriptions import Subscription
from shared.events.state import Lifecycle, Term
from tests.support.builders.subscriptions import END, START, TICK, refused, subscription

TERM = Term(start=START, end=END)
GRACE_ENDS = END + timedelta(days=30)
READ_ONLY_ENDS = GRACE_ENDS + timedelta(days=90)


@pytest.mark.parametrize(
    ("at", "state"),
    [
        (START - TICK, "pending"),
        (START, "active"),
        (END - TICK, "active"),
        (END, "grace"),
        (GRACE_ENDS - TICK, "grace"),
        (GRACE_ENDS, "read_only"),
        (READ_ONLY_ENDS - TICK, "read_only"),
        (READ_ONLY_ENDS, "expired"),
    ],
)
def test_the_state_changes_exactly_at_each_boundary(at: datetime, state: Lifecycle) -> None:
    assert state_at(TERM, at) == state
    assert subscription().at(at).state.state == state


def test_a_cancelled_subscription_stays_cancelled() -> None:
    assert state_at(TERM, START, cancelled_at=START + TICK) == "active"
    assert state_at(TERM, START + TICK, cancelled_at=START + TICK) == "cancelled"
    assert state_at(TERM, READ_ONLY_ENDS, cancelled_at=START) == "cancelled"


SELL = {"purchase-lot"}
PREPARE = {"subscribe-product", "unsubscribe-product", "set-policy", "void-lot", "lock-rates"}
ALLOCATE = {"apply-plan", "override-plan"}
CONTRACT = {"renew-subscription", "cancel-subscription", "convert-subscription"}
PEOPLE = {"set-primary-contact", "set-grants"}
PERMITTED = {
    "pending": SELL | PREPARE | CONTRACT | PEOPLE,
    "active": SELL | PREPARE | ALLOCATE | CONTRACT | PEOPLE,
    "exhausted": SELL | PREPARE | ALLOCATE | CONTRACT | PEOPLE,
    "grace": PREPARE | ALLOCATE | CONTRACT | PEOPLE,
    "read_only": CONTRACT | PEOPLE,
    "expired": PEOPLE,
    "cancelled": PEOPLE,
}
WHEN = {
    "pending": START - TICK,
    "active": START,
    "exhausted": START,
    "grace": END,
    "read_only": GRACE_ENDS,
    "expired": READ_ONLY_ENDS,
    "cancelled": START,
}


def in_state(state: Lifecycle) -> Subscription:
    """A subscription that is in this state at ``WHEN[state]``."""
    return replace(subscription(), exhausted=state == "exhausted", cancelled_at=START if state == "cancelled" else None)


def test_the_permitted_commands_of_each_state_equal_the_table() -> None:
    assert PERMITS == PERMITTED
    assert set(PERMITS) == set(get_args(Lifecycle))


@pytest.mark.parametrize("action", sorted(SELL | PREPARE | ALLOCATE | CONTRACT | PEOPLE))
@pytest.mark.parametrize("state", list(WHEN))
def test_a_command_is_refused_with_the_state_when_the_state_does_not_permit_it(
    state: Lifecycle, action: Action
) -> None:
    of = in_state(state)
    assert of.at(WHEN[state]).state.state == state
    refusal = of.refusal_for(action, WHEN[state])
    if action in PERMITTED[state]:
        assert refusal is None
    else:
        assert refused(refusal) == ("subscription_not_active", {"state": state})


@pytest.mark.parametrize("action", sorted(set(ACTIONS) - FLEX))
def test_commands_that_need_no_pool_are_permitted_when_there_is_none(action: Action) -> None:
    if action in PERMITTED["active"]:
        assert subscription(model="per_product").refusal_for(action, START) is None
        assert subscription(flex_enabled=False).refusal_for(action, START) is None


def test_a_term_may_end_at_the_largest_time() -> None:
    far = Term(start=START, end=datetime.max.replace(tzinfo=START.tzinfo))
    assert state_at(far, END) == "active"
