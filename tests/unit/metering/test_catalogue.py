"""A catalogue is immutable; a newer one shares the unchanged parts."""

from collections.abc import Sequence
from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from typing import Any

import pytest

from services.metering.domain import catalogue as domain
from services.metering.domain.catalogue import Catalogue, SubscriptionView, product_view_of, view_of
from services.metering.domain.subscription import read_subscription
from shared.events.state import SubscriptionState
from tests.support.builders.metering import NOW, PRODUCTS, SUBSCRIPTIONS, product, subscription

SOURCE = "/platforms/scan"


def views(states: Sequence[SubscriptionState], first: int = 0) -> list[SubscriptionView]:
    return [view_of(number, read_subscription(one.model_dump_json())) for number, one in enumerate(states, first)]


def known() -> Catalogue:
    products = [
        product_view_of(one, {meter.meter: 10 * number + n for n, meter in enumerate(one.meters)})
        for number, one in enumerate(PRODUCTS)
    ]
    return Catalogue().with_changes(1, views(SUBSCRIPTIONS), products).with_sources({SOURCE: 7})


def contents(catalogue: Catalogue) -> dict[str, Any]:
    """Copy everything that the catalogue holds and finds."""
    values = {one.name: getattr(catalogue, one.name) for one in fields(catalogue) if one.name != "reporters"}
    found = catalogue.find_reporter("scan", "host", SOURCE)
    copied = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
    return {**copied, "found": found, "unknown source": catalogue.find_reporter("scan", "host", f"{SOURCE}/new")}


def test_a_catalogue_is_unchanged_when_a_newer_one_is_made() -> None:
    before_change = known()
    before = contents(before_change)
    newer = before_change.with_changes(
        2,
        views([subscription("sub-1", ("scan",), version=9, allocated=1), subscription("sub-9", ("scan",))]),
        [product_view_of(product("scan", *PRODUCTS[0].meters, version=2, retired_at=NOW), {"host": 99})],
    )
    newer = newer.with_sources({f"{SOURCE}/new": 8})
    assert contents(before_change) == before
    assert newer.version == 2
    assert newer.subscriptions["sub-1"].state.products[0].allocated == 1
    assert set(newer.subscriptions) == {"sub-1", "sub-2", "sub-3", "sub-9"}
    found = newer.find_reporter("scan", "host", f"{SOURCE}/new")
    assert found is not None
    assert (found.meter, found.source_number) == (99, 8)
    assert found.retired_us < domain.microseconds(NOW + timedelta(seconds=1))


def test_nothing_of_a_catalogue_can_be_assigned() -> None:
    catalogue = known()
    for value in (catalogue, catalogue.products["scan"], catalogue.subscriptions["sub-1"], catalogue.meters[0]):
        for one in fields(value):
            with pytest.raises(FrozenInstanceError):
                setattr(value, one.name, None)


def test_unchanged_parts_are_shared_when_a_newer_catalogue_is_made() -> None:
    before_change = known()
    newer = before_change.with_changes(2, views([subscription("sub-1", ("scan",), version=9)]))
    for name in ("products", "meters", "sources", "reporters"):
        assert getattr(newer, name) is getattr(before_change, name), name
    for name in ("sub-2", "sub-3"):
        assert newer.subscriptions[name] is before_change.subscriptions[name]
    assert newer.by_number[0] is newer.subscriptions["sub-1"] is not before_change.subscriptions["sub-1"]
    assert before_change.with_changes(3).subscriptions is before_change.subscriptions
    assert before_change.with_sources({SOURCE: 7}) is before_change


def test_cached_reporters_are_dropped_when_their_product_changes() -> None:
    before_change = known()
    first = before_change.find_reporter("scan", "host", SOURCE)
    assert before_change.reporters == {("scan", "host", SOURCE): first}
    moved = before_change.with_changes(2, products=[product_view_of(PRODUCTS[0], {"host": 55})])
    assert moved.reporters == {}
    found = moved.find_reporter("scan", "host", SOURCE)
    assert found is not None
    assert found.meter == 55
    assert before_change.find_reporter("scan", "host", SOURCE) == first


def test_sources_are_cached_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "SOURCES_KNOWN", 3)
    catalogue = Catalogue().with_sources({"a": 1, "b": 2}).with_sources({"a": 1, "c": 3, "d": 4})
    assert catalogue.sources == {"a": 1, "b": 2, "c": 3}
    assert catalogue.with_sources({"e": 5}) is catalogue
