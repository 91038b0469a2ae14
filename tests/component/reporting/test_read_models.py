"""Redelivery and order: whatever comes twice or late, the newest state stays and history holds each event once."""

from itertools import permutations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.reporting.store.consumption import prune_consumption
from shared.events.outcomes import AuditRecord, DecisionRecorded
from shared.events.state import GrantedTo
from tests.component.reporting.states import (
    NOW,
    PRIMARY,
    STRANGER,
    VIEWER,
    WINDOW,
    created,
    event,
    plan,
    snapshot,
    subscription,
)
from tests.component.reporting.world import World


async def test_newest_version_wins_in_every_order(world: World) -> None:
    plans = [
        event(plan(subscription(version=v, allocated={"scan": after}), before, after))
        for v, before, after in ((2, 400, 450), (3, 450, 500), (4, 500, 300))
    ]
    for order in permutations(plans):
        await world.apply(*order, *order)
        body = await world.get("/v1/subscriptions/sub-1")
        assert (body["version"], body["allocated"]) == (4, 300)
    assert len((await world.get("/v1/subscriptions/sub-1/allocations"))["items"]) == 3


async def test_late_old_state_does_not_bring_back_a_grant(world: World) -> None:
    await world.apply(created(subscription(version=3, grants=[])))
    await world.apply(created(subscription(version=2, grants=[GrantedTo(email=VIEWER, grant="viewer")])))
    assert (await world.ask("GET", "/v1/subscriptions/sub-1", VIEWER)).status_code == 404
    assert (await world.get("/v1/me", VIEWER))["subscriptions"] == []


async def test_handed_over_subscription_is_seen_by_its_new_contact_only(world: World) -> None:
    contact = {"email": STRANGER, "name": "Sam"}
    await world.apply(created(subscription(version=2, grants=[], primary_contact=contact)))
    assert (await world.ask("GET", "/v1/subscriptions/sub-1", STRANGER)).status_code == 200
    assert (await world.ask("GET", "/v1/subscriptions/sub-1", PRIMARY)).status_code == 404


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_newest_revision_wins_however_batches_fall(world: World, data: st.DataObject) -> None:
    """Revisions only grow from example to example, as the database stays."""
    base = data.draw(st.just(await _revision(world)))
    order = data.draw(st.permutations(range(1, 7)))
    cuts = data.draw(st.integers(1, 5))
    snapshots = [snapshot(n * 10, revision=base + n) for n in order]
    for batch in (snapshots[:cuts], snapshots[cuts:], snapshots[:2]):
        await world.measure(*batch)
    assert (await world.get("/v1/subscriptions/sub-1"))["consumed"] == 60
    assert await _revision(world) == base + 6


async def _revision(world: World) -> int:
    items = (await world.get("/v1/subscriptions/sub-1/usage"))["items"]
    return int(items[-1]["revision"]) if items else 0


async def test_audit_event_is_recorded_once(world: World) -> None:
    record = AuditRecord(at=NOW, account="acme", actor=PRIMARY, action="a", object="o", outcome="denied")
    one = event(DecisionRecorded(record=record))
    await world.apply(one, one)
    await world.apply(one)
    assert len((await world.get("/v1/audit"))["items"]) == 1


async def test_old_windows_are_forgotten_but_never_the_newest_of_a_product(world: World) -> None:
    old = snapshot(9, windows_ago=3, product="old")
    await world.measure(snapshot(1, windows_ago=3), snapshot(2, windows_ago=2), old)
    async with world.runtime.pool.acquire() as connection:
        await prune_consumption(connection, WINDOW.start)
    items = (await world.get("/v1/subscriptions/sub-1/usage"))["items"]
    assert {(one["product"], one["consumed"]) for one in items} == {("scan", 2), ("old", 9)}
