"""Entitlements of every policy, at their boundaries."""

from datetime import timedelta
from typing import Any

import pytest

from services.metering.domain.entitlement import decide
from services.metering.domain.subscription import Subscription, read_subscription
from services.metering.handlers.project import HANDLERS
from shared.events.allocation import ALLOCATION_EVENTS
from shared.events.state import SubscriptionState
from tests.support.builders.metering import START, subscription


def subscribed(state: str = "active", **changes: Any) -> Subscription:
    one = subscription("sub", ("scan",), allocated=changes.pop("allocated", 100))
    products = tuple(product.model_copy(update=changes) for product in one.products)
    return read_subscription(one.model_copy(update={"products": products, "state": state}).model_dump_json())


@pytest.mark.parametrize(
    ("policy", "consumed", "wanted", "allowed", "reason"),
    [
        ("hard", 99, 1, True, "within_allocation"),
        ("hard", 99, 0, True, "within_allocation"),
        ("hard", 99, 2, False, "allocation_exhausted"),
        ("hard", 100, 1, False, "allocation_exhausted"),
        ("hard", 100, 0, False, "allocation_exhausted"),
        ("soft", 100, 0, True, "within_allocation"),
        ("soft", 100, 1, True, "overage_permitted"),
        ("reserve", 100, 1, True, "overage_permitted"),
    ],
)
def test_only_the_hard_policy_refuses_at_the_allocation(
    policy: str, consumed: int, wanted: int, allowed: bool, reason: str
) -> None:
    answer = decide(subscribed(policy=policy), "scan", consumed, wanted)
    assert (answer.allowed, answer.reason) == (allowed, reason)


@pytest.mark.parametrize(
    ("state", "product", "reason"),
    [
        (subscribed(restricted=True), "scan", "restricted"),
        (subscribed(allocated=0), "scan", "not_allocated"),
        (subscribed(), "web", "not_allocated"),
        (subscribed(ended_at=START + timedelta(days=1)), "scan", "not_allocated"),
        (subscribed("cancelled"), "scan", "subscription_not_active"),
        (subscribed("read_only"), "scan", "subscription_not_active"),
        (subscribed("expired", restricted=True), "scan", "subscription_not_active"),
    ],
)
def test_an_entitlement_is_refused_when_the_subscription_cannot_be_used(
    state: Subscription, product: str, reason: str
) -> None:
    answer = decide(state, product, 0, 1)
    assert (answer.allowed, answer.reason) == (False, reason)


def test_every_event_with_a_subscription_reaches_the_answer() -> None:
    for one in ALLOCATION_EVENTS:
        brings = one.model_fields.get("subscription") or one.model_fields.get("product")
        if brings is not None and brings.annotation in {SubscriptionState}:
            assert one in HANDLERS, one.event_type
