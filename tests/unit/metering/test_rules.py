"""Small rules of entitlements, sources, lateness and keys."""

from datetime import timedelta
from typing import Any

import pytest

from services.metering.domain.catalogue import Catalogue, may_report, microseconds, product_view_of, view_of
from services.metering.domain.decode import UsageEvent, decode
from services.metering.domain.entitlement import decide
from services.metering.domain.placement import place
from services.metering.domain.reasons import RejectedError
from services.metering.domain.subscription import read_subscription
from services.metering.handlers.project import new_rates_since
from services.metering.store.rows import numeric
from shared.events.state import Rate
from shared.runtime.records import Record
from tests.support.builders.metering import NOW, PRODUCTS, START, SUBSCRIPTIONS, event, product, records, subscription


def usage_in(record: Record) -> UsageEvent:
    read = decode(record.value)
    assert isinstance(read, UsageEvent)
    return read


@pytest.mark.parametrize(
    ("changes", "consumed", "wanted", "allowed", "reason"),
    [
        ({}, 0, 100, True, "within_allocation"),
        ({}, 1, 100, True, "overage_permitted"),
        ({"policy": "hard"}, 99, 1, True, "within_allocation"),
        ({"policy": "hard"}, 100, 0, False, "allocation_exhausted"),
        ({"policy": "hard"}, 100, 1, False, "allocation_exhausted"),
        ({"policy": "reserve"}, 100, 1, True, "overage_permitted"),
        ({"restricted": True}, 0, 1, False, "restricted"),
        ({"allocated": 0}, 0, 1, False, "not_allocated"),
    ],
)
def test_an_entitlement_has_its_reason(
    changes: dict[str, Any], consumed: int, wanted: int, allowed: bool, reason: str
) -> None:
    state = subscription("s", ("scan",))
    state = state.model_copy(update={"products": (state.products[0].model_copy(update=changes),)})
    answer = decide(read_subscription(state.model_dump_json()), "scan", consumed, wanted)
    assert (answer.allowed, answer.reason) == (allowed, reason)
    assert answer.unused == answer.allocated - consumed


def test_no_entitlement_without_subscribing_or_an_active_subscription() -> None:
    state = subscription("s", ("scan",))
    assert decide(read_subscription(state.model_dump_json()), "web", 0, 1).reason == "not_allocated"
    over = state.model_copy(update={"state": "read_only"})
    assert decide(read_subscription(over.model_dump_json()), "scan", 0, 1).reason == "subscription_not_active"


def test_a_source_must_begin_with_one_of_the_products_prefixes() -> None:
    assert may_report("/platforms/scan", "scan")
    assert may_report("/platforms/scan/eu", "scan")
    assert not may_report("/platforms/web", "scan")
    assert may_report("/elsewhere/1", "scan", ("/nowhere", "/elsewhere"))
    assert not may_report("/platforms/scan\n", "scan")


@pytest.mark.parametrize(
    ("prefix", "source", "may"),
    [
        ("/platforms/api", "/platforms/api", True),
        ("/platforms/api", "/platforms/api/", True),
        ("/platforms/api", "/platforms/api/eu", True),
        ("/platforms/api", "/platforms/api-guard", False),
        ("/platforms/api", "/platforms/api2", False),
        ("/platforms/api", "/platforms/apI", False),
        ("/platforms/api", "/platforms/ap", False),
        ("/platforms/api/", "/platforms/api/eu", True),
        ("/platforms/api/", "/platforms/api", False),
        ("/platforms/api/", "/platforms/api-guard", False),
        ("/", "/anything", True),
        ("urn:acme:scan", "urn:acme:scanner", False),
    ],
)
def test_a_prefix_ends_at_a_separator(prefix: str, source: str, may: bool) -> None:
    assert may_report(source, "other", ("/nowhere", prefix)) is may
    if prefix == "/platforms/api":
        assert may_report(source, "api") is may


def known() -> Catalogue:
    products = [
        product_view_of(one, {meter.meter: 10 * number + n for n, meter in enumerate(one.meters)})
        for number, one in enumerate(PRODUCTS)
    ]
    subscriptions = [
        view_of(number, read_subscription(state.model_dump_json())) for number, state in enumerate(SUBSCRIPTIONS)
    ]
    return Catalogue().with_changes(1, subscriptions, products)


@pytest.mark.parametrize(
    ("back", "reason"),
    [
        (timedelta(days=35), None),
        (timedelta(days=35, microseconds=1), "too_old"),
        (-timedelta(minutes=5), None),
        (-timedelta(minutes=5, microseconds=1), "too_far_ahead"),
    ],
)
def test_lateness_is_measured_from_the_first_acceptance(back: timedelta, reason: str | None) -> None:
    (record,) = records([event("e", at=NOW - back, resource="r")])
    read = usage_in(record)
    if reason is None:
        assert (
            place(read, microseconds(NOW), known()).window_us % 86_400_000_000 == microseconds(START) % 86_400_000_000
        )
    else:
        with pytest.raises(RejectedError) as error:
            place(read, microseconds(NOW), known())
        assert error.value.reason == reason


def test_usage_after_a_product_was_retired_is_not_applied() -> None:
    retired = product("scan", *PRODUCTS[0].meters, version=2, retired_at=NOW)
    catalogue = known().with_changes(2, products=[product_view_of(retired, {"host": 0})])
    before, after = (
        usage_in(r)
        for r in records([event("a", at=NOW - timedelta(seconds=1), resource="r"), event("b", resource="r")])
    )
    assert place(before, microseconds(NOW), catalogue).meter == 0
    with pytest.raises(RejectedError) as error:
        place(after, microseconds(NOW), catalogue)
    assert error.value.reason == "product_not_subscribed"


def test_new_rates_are_distinguished_from_known_ones() -> None:
    before = PRODUCTS[0]
    rate = Rate(version=2, units=2, block=1, effective_from=NOW)
    meter = before.meters[0].model_copy(update={"rates": (*before.meters[0].rates, rate)})
    after = before.model_copy(update={"meters": (meter, PRODUCTS[1].meters[0]), "version": 2})
    assert new_rates_since(before, after) == NOW
    assert new_rates_since(after, after) is None


def test_numeric_fields_are_as_postgres_sends_them() -> None:
    assert numeric(0) == bytes.fromhex("000000080000000000000000")
    assert numeric("10000.0001") == bytes.fromhex("0000000e0003000100000004000100000001")
