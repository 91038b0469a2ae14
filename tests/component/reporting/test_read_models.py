"""Read models: the newest state wins, and history has each event once."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.reporting import handlers
from services.reporting.store.consumption import prune_consumption
from services.reporting.subscribers import on_consumption
from shared.events.allocation import (
    ALLOCATION_EVENTS,
    PersonChanged,
    PriceListChanged,
    ProductChanged,
    ProductRetired,
    RoleChanged,
    RoleTemplatesChanged,
)
from shared.events.envelope import Payload
from shared.events.outcomes import AuditRecord, DecisionRecorded
from shared.events.schemas.examples import example_of
from shared.events.state import GrantedTo, PriceList, RoleState, Tier
from tests.support.builders.people import person_id
from tests.support.builders.published import (
    NOW,
    PRIMARY,
    STRANGER,
    VIEWER,
    WINDOW,
    created,
    event,
    person,
    plan,
    snapshot,
    subscription,
)
from tests.support.drivers.reporting import ReportingDriver, record


async def test_newest_version_wins_in_every_order(driver: ReportingDriver) -> None:
    plans = [
        event(plan(subscription(version=v, allocated={"scan": after}), before, after))
        for v, before, after in ((2, 400, 450), (3, 450, 500), (4, 500, 300))
    ]
    for order in permutations(plans):
        await driver.apply(*order, *order)
        body = await driver.get("/v1/subscriptions/sub-1")
        assert (body["version"], body["allocated"]) == (4, 300)
    assert len((await driver.get("/v1/subscriptions/sub-1/allocations"))["items"]) == 3


def test_every_event_of_allocation_has_a_handler() -> None:
    assert set(handlers.ALLOCATION) == set(ALLOCATION_EVENTS)


def _of_a_subscription() -> list[type[Payload]]:
    return [one for one in ALLOCATION_EVENTS if "subscription" in one.model_fields]


async def test_subscription_is_saved_from_every_event_that_contains_it(empty: ReportingDriver) -> None:
    for version, kind in enumerate(_of_a_subscription(), start=1):
        example = kind.model_validate(example_of(kind)["data"])
        state = subscription(version=version, name=kind.__name__)
        await empty.apply(example.model_copy(update={"subscription": state}))
        assert (await empty.get("/v1/subscriptions/sub-1"))["name"] == kind.__name__


async def test_product_is_saved_from_every_event_that_contains_it(empty: ReportingDriver) -> None:
    kinds: tuple[type[Any], ...] = (ProductChanged, RoleTemplatesChanged, ProductRetired)
    for version, kind in enumerate(kinds, start=1):
        example = kind.model_validate(example_of(kind)["data"])
        state = example.product.model_copy(update={"version": version, "name": kind.__name__})
        await empty.apply(example.model_copy(update={"product": state}))
        assert (await empty.get(f"/v1/catalogue/products/{state.id}"))["name"] == kind.__name__


async def test_newest_person_role_and_price_list_win_in_every_order(driver: ReportingDriver) -> None:
    somebody = person(VIEWER, "Old").person
    role = RoleState.model_validate(
        {"account": "acme", "role": "scan-own", "product": "scan", "name": "Old", "is_default": False, "version": 1}
    )
    tiers = (Tier(from_units=0, discount_basis_points=0),)
    prices = PriceList(currency="EUR", list_price_minor=1, tiers=tiers, version=1)
    new: dict[str, Any] = {"version": 2, "name": "New"}
    old_ones = (PersonChanged(person=somebody), RoleChanged(role=role), PriceListChanged(price_list=prices))
    new_ones = (
        PersonChanged(person=somebody.model_copy(update=new)),
        RoleChanged(role=role.model_copy(update=new)),
        PriceListChanged(price_list=prices.model_copy(update={"version": 2, "list_price_minor": 2})),
    )
    await driver.apply(*new_ones, *old_ones, *new_ones)
    assert (await driver.get(f"/v1/accounts/acme/people/{VIEWER}"))["name"] == "New"
    assert (await driver.get("/v1/accounts/acme/roles/scan-own"))["name"] == "New"
    assert (await driver.get("/v1/price-list"))["list_price_minor"] == 2


async def test_a_person_is_gone_when_their_record_is_deleted(driver: ReportingDriver) -> None:
    path = f"/v1/accounts/acme/people/{VIEWER}"
    await driver.apply(person(VIEWER, "Victor", 2))
    for key in (person_id(STRANGER).encode(), b"\xff", None):
        await driver.read_people(record(person(VIEWER))._replace(key=key, value=None))
    assert (await driver.get(path))["name"] == "Victor", "none of these is Victor's"
    await driver.read_people(record(person(VIEWER))._replace(key=person_id(VIEWER).encode(), value=None))
    assert (await driver.ask("GET", path)).status_code == 404
    again = PersonChanged(person=person(VIEWER, "Vic").person.model_copy(update={"id": person_id("another")}))
    await driver.apply(again)
    assert (await driver.get(path))["id"] == person_id("another")


@pytest.mark.parametrize("newest_last", [True, False])
async def test_the_present_person_is_shown_when_one_with_their_address_was_there_before(
    driver: ReportingDriver, newest_last: bool
) -> None:
    before = person(VIEWER, "Before", 2, removed_at=NOW, enabled=False)
    now = PersonChanged(person=person(VIEWER, "Now").person.model_copy(update={"id": person_id("another")}))
    await driver.apply(*((before, now) if newest_last else (now, before)))
    assert (await driver.get(f"/v1/accounts/acme/people/{VIEWER}"))["name"] == "Now"


async def test_grant_stays_revoked_when_an_old_state_arrives_late(driver: ReportingDriver) -> None:
    await driver.apply(created(subscription(version=3, grants=[])))
    await driver.apply(created(subscription(version=2, grants=[GrantedTo(person=person_id(VIEWER), grant="viewer")])))
    assert (await driver.ask("GET", "/v1/subscriptions/sub-1", VIEWER)).status_code == 404
    assert (await driver.get("/v1/me", VIEWER))["subscriptions"] == []


async def test_subscription_is_visible_to_its_new_contact_only_after_a_hand_over(driver: ReportingDriver) -> None:
    state = subscription(version=2, grants=[], primary_contact=person_id(STRANGER))
    await driver.apply(person(STRANGER, "Sam"), created(state))
    assert (await driver.ask("GET", "/v1/subscriptions/sub-1", STRANGER)).status_code == 200
    assert (await driver.ask("GET", "/v1/subscriptions/sub-1", PRIMARY)).status_code == 404


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_newest_revision_wins_in_any_batches(driver: ReportingDriver, data: st.DataObject) -> None:
    """Revisions grow from example to example, since the database stays."""
    base = data.draw(st.just(await _revision(driver)))
    order = data.draw(st.permutations(range(1, 7)))
    cuts = data.draw(st.integers(1, 5))
    snapshots = [snapshot(n * 10, revision=base + n) for n in order]
    for batch in (snapshots[:cuts], snapshots[cuts:], snapshots[:2]):
        await driver.measure(*batch)
    assert (await driver.get("/v1/subscriptions/sub-1"))["consumed"] == 60
    assert await _revision(driver) == base + 6


async def _revision(driver: ReportingDriver) -> int:
    items = (await driver.get("/v1/subscriptions/sub-1/usage"))["items"]
    return int(items[-1]["revision"]) if items else 0


async def test_snapshot_is_saved_when_only_the_full_decoder_accepts_it(driver: ReportingDriver) -> None:
    odd = record(snapshot(70, revision=9))
    value = (odd.value or b"").replace(b'"revision":9', b'"revision":"9"')
    async with driver.runtime.transaction() as tx:
        await on_consumption(tx, [record(snapshot(60, revision=8)), odd._replace(value=value)])
    assert (await driver.get("/v1/subscriptions/sub-1"))["consumed"] == 70


async def test_audit_event_is_recorded_once(driver: ReportingDriver) -> None:
    record = AuditRecord(at=NOW, account="acme", actor=PRIMARY, action="a", object="o", outcome="denied")
    one = event(DecisionRecorded(record=record))
    await driver.apply(one, one)
    await driver.apply(one)
    assert len((await driver.get("/v1/audit"))["items"]) == 1


async def test_old_windows_are_deleted_except_the_newest_of_a_product(driver: ReportingDriver) -> None:
    old = snapshot(9, windows_ago=3, product="old")
    await driver.measure(snapshot(1, windows_ago=3), snapshot(2, windows_ago=2), old)
    async with driver.runtime.pool.acquire() as connection:
        await prune_consumption(connection, WINDOW.start)
    items = (await driver.get("/v1/subscriptions/sub-1/usage"))["items"]
    assert {(one["product"], one["consumed"]) for one in items} == {("scan", 2), ("old", 9)}
