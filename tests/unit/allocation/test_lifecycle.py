"""States of a subscription, and what each permits."""

from datetime import datetime, timedelta
from typing import get_args

import pytest

from services.allocation.domain.lifecycle import PERMITS, state_at
from services.allocation.domain.permissions import Action
from shared.events.state import Lifecycle, Term
from tests.unit.allocation.building import END, START, TICK, refused, subscription

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
def test_the_state_changes_at_its_instant(at: datetime, state: Lifecycle) -> None:
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
WHEN = {"pending": START - TICK, "active": START, "grace": END, "read_only": GRACE_ENDS, "expired": READ_ONLY_ENDS}


def test_every_state_says_what_it_permits() -> None:
    assert PERMITS == PERMITTED
    assert set(PERMITS) == set(get_args(Lifecycle))


@pytest.mark.parametrize("action", sorted(SELL | PREPARE | ALLOCATE | CONTRACT | PEOPLE))
@pytest.mark.parametrize("state", list(WHEN))
def test_what_a_state_does_not_permit_is_refused_with_the_state(state: Lifecycle, action: Action) -> None:
    refusal = subscription().refusal_for(action, WHEN[state])
    if action in PERMITTED[state]:
        assert refusal is None
    else:
        assert refused(refusal) == ("subscription_not_active", {"state": state})


def test_the_end_of_time_is_a_term_too() -> None:
    far = Term(start=START, end=datetime.max.replace(tzinfo=START.tzinfo))
    assert state_at(far, END) == "active"
