"""Products, meters and their rates."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from services.allocation.domain import catalogue
from shared.events.commands.catalogue import CreateMeter, CreateProduct, SetRate
from shared.events.refusals import Refusal
from shared.events.state import ProductState
from tests.support.builders.subscriptions import NOW, TICK, refused


def product(**changes: Any) -> ProductState:
    made = catalogue.create_product(CreateProduct(product="scan", name="Scan"))
    meter = CreateMeter(product="scan", meter="host", name="Host", aggregation="unique", units=1, block=2)
    added = catalogue.add_meter(made, meter, NOW)
    assert isinstance(added, ProductState)
    return added.model_copy(update=changes)


def rate(at: datetime | None, meter: str = "host") -> SetRate:
    return SetRate(product="scan", meter=meter, units=3, block=4, effective_from=at)


def test_a_product_has_its_own_platform_as_source_when_none_is_given() -> None:
    assert product().sources == ("/platforms/scan",)
    asked = CreateProduct(product="scan", name="Scan", sources=("/a", "/b"))
    assert catalogue.create_product(asked).sources == ("/a", "/b")


def test_a_meter_comes_with_its_first_rate() -> None:
    (meter,) = product().meters
    assert (meter.rates[0].version, meter.rates[0].units, meter.rates[0].block) == (1, 1, 2)
    assert meter.rates[0].effective_from == NOW
    assert product().version == 2


def test_a_meter_is_refused_when_its_id_exists() -> None:
    again = CreateMeter(product="scan", meter="host", name="Other", aggregation="sum", units=1, block=1)
    assert refused(catalogue.add_meter(product(), again, NOW)) == ("already_exists", {"id": "host"})


def test_rates_follow_each_other() -> None:
    changed = catalogue.add_rate(product(), rate(NOW + timedelta(days=30)), NOW)
    assert isinstance(changed, ProductState)
    assert changed.version == 3
    meter = changed.meters[0]
    assert [one.version for one in meter.rates] == [1, 2]
    assert meter.rate_at(NOW + timedelta(days=30) - TICK).version == 1
    assert meter.rate_at(NOW + timedelta(days=30)).version == 2
    again = catalogue.add_rate(changed, rate(NOW + timedelta(days=30)), NOW)
    assert refused(again)[1]["errors"][0]["field"] == "effective_from"


@pytest.mark.parametrize(("ago", "taken"), [(timedelta(minutes=5), True), (timedelta(minutes=5) + TICK, False)])
def test_a_rate_is_refused_when_it_begins_more_than_five_minutes_ago(ago: timedelta, taken: bool) -> None:
    later = NOW + timedelta(days=30)
    decision = catalogue.add_rate(product(), rate(later - ago), later)
    assert isinstance(decision, ProductState) is taken
    assert taken or refused(decision)[1]["errors"][0]["field"] == "effective_from"


def test_a_rate_is_not_found_when_its_meter_does_not_exist() -> None:
    assert refused(catalogue.add_rate(product(), rate(None, meter="vm"), NOW + TICK))[0] == "not_found"


def test_meters_and_rates_are_refused_when_the_product_is_retired() -> None:
    retired = product(retired_at=NOW)
    meter = CreateMeter(product="scan", meter="vm", name="VM", aggregation="peak", units=1, block=1)
    for decision in (catalogue.add_meter(retired, meter, NOW), catalogue.add_rate(retired, rate(None), NOW + TICK)):
        assert refused(decision) == ("product_retired", {"product": "scan"})


@pytest.mark.parametrize("change", [{"block": 0}, {"units": 0}, {"units": 1.5}, {"aggregation": "median"}])
def test_a_command_is_invalid_when_a_field_of_the_meter_is(change: dict[str, Any]) -> None:
    good = {"product": "scan", "meter": "m", "name": "M", "aggregation": "sum", "units": 1, "block": 1}
    with pytest.raises(ValueError, match=next(iter(change))):
        CreateMeter.model_validate(good | change)


@pytest.mark.parametrize("aggregation", ["sum", "count", "unique", "peak", "latest"])
@pytest.mark.parametrize("reset", ["window", "term"])
def test_a_meter_is_refused_when_a_level_resets_with_the_term(aggregation: Any, reset: Any) -> None:
    meter = CreateMeter(product="scan", meter="m", name="M", aggregation=aggregation, reset=reset, units=1, block=1)
    decision = catalogue.add_meter(product(), meter, NOW)
    if reset == "window" or aggregation in {"sum", "count"}:
        assert isinstance(decision, ProductState)
    else:
        code, numbers = refused(decision)
        assert (code, [one["field"] for one in numbers["errors"]]) == ("invalid_request", ["reset"])


def test_meters_and_rates_are_limited() -> None:
    full = product()
    full = full.model_copy(update={"meters": full.meters * catalogue.MAX_METERS})
    meter = CreateMeter(product="scan", meter="vm", name="VM", aggregation="peak", units=1, block=1)
    assert isinstance(catalogue.add_meter(full, meter, NOW), Refusal)
