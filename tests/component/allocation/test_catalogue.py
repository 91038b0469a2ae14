"""Invalid changes of the catalogue are refused with their field and audited."""

from datetime import timedelta
from typing import Any

import pytest

from services.allocation.domain.size_limits import MAX_BYTES
from shared.events.commands.catalogue import CreateMeter, CreateProduct, RetireProduct, SetRate, SetRoleTemplates
from shared.events.envelope import Event, Payload
from shared.events.ids import PermissionId, RoleId
from shared.events.state import Permission, RoleTemplate
from shared.runtime.delivery.batch_runner import transaction
from shared.runtime.delivery.transaction import PermanentError
from shared.runtime.records import MAX_VALUE_BYTES, Record
from shared.runtime.signing import SIGNATURE_HEADER, sign
from tests.component.allocation.test_people import fields
from tests.support.drivers.allocation import KEYS, PRIMARY, START, VENDOR, AllocationDriver, command, record

LATER = START + timedelta(days=30)


def meter(name: str = "vm") -> CreateMeter:
    """A meter of the product."""
    return CreateMeter(product="scan", meter=name, name="VM", aggregation="peak", units=1, block=1)


def rate(days: float = 30, *, of: str = "host", product: str = "scan") -> SetRate:
    """A rate that begins ``days`` after the start."""
    at = START + timedelta(days=days)
    return SetRate(product=product, meter=of, units=2, block=1, effective_from=at)


async def versions(driver: AllocationDriver) -> int:
    """The product's version."""
    return int(await driver.pool.fetchval("SELECT version FROM products WHERE id = 'scan'"))


async def test_a_rate_is_refused_with_its_field_when_its_date_overlaps_or_is_past(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.sell(rate(30))
    before = await versions(driver)
    for overlapping in (rate(30), rate(29), rate(30 - 1e-9), rate(-1)):
        decision = await driver.ask(overlapping, VENDOR, vendor=True)
        assert fields(decision) == {"effective_from"}
        assert (decision.events, decision.audit[0].outcome, decision.audit[0].reason) == (
            [],
            "denied",
            "invalid_request",
        )
    driver.now = LATER + timedelta(days=10)
    assert fields(await driver.ask(rate(39), VENDOR, vendor=True)) == {"effective_from"}
    assert await versions(driver) == before
    accepted = await driver.sell(rate(41))
    assert [one.version for one in accepted.events[0].product.meters[0].rates] == [1, 2, 3]


@pytest.mark.parametrize(
    "wrong",
    [
        {"block": 0},
        {"units": 0},
        {"block": -1},
        {"units": 1.5},
        {"units": "5"},
        {"units": 2**63},
        {"aggregation": "median"},
        {"reset": "never"},
        {"meter": "Not A Slug"},
    ],
)
async def test_a_command_is_a_permanent_error_and_changes_nothing_when_it_is_malformed(
    driver: AllocationDriver, wrong: dict[str, Any]
) -> None:
    """The API refuses these first, so on the topic they are forged or a defect."""
    await driver.open()
    before = await versions(driver)
    bad: Event[Payload] = command(meter(), VENDOR, vendor=True)
    bad = bad.model_copy(update={"data": bad.data.model_copy(update=wrong)})
    with pytest.raises(PermanentError, match=next(iter(wrong))) as error:
        await submit_unchecked(driver, bad)
    assert error.value.reason == "malformed"
    assert await versions(driver) == before


async def submit_unchecked(driver: AllocationDriver, requested: Event[Any]) -> None:
    """Submit a command that the contract may not allow."""
    value = requested.model_dump_json(exclude_none=True, warnings=False).encode()
    whole: Record = record(command(meter(), VENDOR, vendor=True))
    whole = whole._replace(value=value, headers=((SIGNATURE_HEADER, sign(value, KEYS, whole.topic)),))
    async with transaction(driver.pool, lambda: driver.now, "allocation") as tx:
        await driver.inbox()(tx, [whole])


async def test_changes_of_a_product_are_refused_when_it_is_retired(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.sell(RetireProduct(product="scan"))
    for late in (meter(), rate(40)):
        decision = await driver.ask(late, VENDOR, vendor=True)
        assert (decision.code, decision.refusal.details, decision.events) == (
            "product_retired",
            {"product": "scan"},
            [],
        )
    again = await driver.sell(RetireProduct(product="scan"))
    assert again.events == []


async def test_a_command_is_not_found_when_its_resource_does_not_exist(driver: AllocationDriver) -> None:
    await driver.open()
    for missing in (rate(40, of="none"), rate(40, product="none"), RetireProduct(product="none")):
        assert (await driver.ask(missing, VENDOR, vendor=True)).code == "not_found"
    assert (await driver.ask(CreateProduct(product="scan", name="S"), VENDOR, vendor=True)).code == "already_exists"
    assert (await driver.ask(meter("host"), VENDOR, vendor=True)).code == "already_exists"
    assert (await driver.ask(CreateProduct(product="x", name="X"), PRIMARY)).code == "forbidden"


async def test_templates_are_refused_when_the_products_event_would_be_too_large(driver: AllocationDriver) -> None:
    await driver.open()
    names = [PermissionId(f"p{n:03}." + "x" * 90) for n in range(200)]
    permissions = tuple(Permission(id=one, category="C", description="D") for one in names)
    roles = tuple(
        RoleTemplate(role=RoleId(f"scan-{kind}"), name="R", summary="S", permissions=tuple(names))
        for kind in ("manager", "operator", "reader", "auditor", *range(40))
    )
    requested = SetRoleTemplates(product="scan", permissions=permissions, roles=roles)
    assert fields(await driver.ask(requested, VENDOR, vendor=True)) == {"roles"}
    assert 2 * MAX_BYTES < MAX_VALUE_BYTES
