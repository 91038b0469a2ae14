"""Plans: from the command to the tables, the events and the audit records."""

from datetime import timedelta
from uuid import UUID

from shared.events.commands.plans import ApplyPlan, PlannedChange, SeenConsumption
from shared.events.commands.subscriptions import PurchaseLot
from shared.windows import window_at
from tests.support.drivers.allocation import PRIMARY, START, VENDOR, AllocationDriver, command, snapshot

NINETY_DAYS = timedelta(days=90)


async def test_an_allocation_is_saved_published_and_audited(driver: AllocationDriver) -> None:
    await driver.open()
    decision = await driver.plan(scan=600, hub=300)
    assert decision.code == "accepted"
    assert await driver.allocated() == {"scan": 600, "hub": 300}
    assert [type(one).__name__ for one in decision.events] == ["PlanApplied"]
    event = decision.events[0]
    assert (event.kind, event.starts_clock) == ("allocation", False)
    assert (decision.outcome.resource, decision.outcome.version) == ("acme-flex", decision.subscription.version)
    assert decision.outcome.result == {
        "preview": False,
        "allowed": True,
        "before": [
            {"product": "scan", "allocated": 0, "consumed": 0},
            {"product": "hub", "allocated": 0, "consumed": 0},
        ],
        "after": [
            {"product": "scan", "allocated": 600, "consumed": 0},
            {"product": "hub", "allocated": 300, "consumed": 0},
        ],
        "unallocated_after": 100,
        "starts_clock": False,
        "next_allowed_at": None,
    }
    (audit,) = decision.audit
    assert (audit.action, audit.outcome, audit.account) == ("apply-plan", "allowed", "acme-flex-account")
    assert audit.before == {"scan": 0, "hub": 0}
    assert audit.after == {"scan": 600, "hub": 300}
    assert audit.address == "192.0.2.1"
    assert await driver.pool.fetchval("SELECT count(*) FROM plan_changes") == 2


async def test_a_rebalance_is_allowed_again_after_exactly_ninety_days(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.plan(scan=600, hub=300)
    driver.now = START + timedelta(days=1)
    lowered = await driver.plan(scan=500, hub=400)
    again = driver.now + NINETY_DAYS
    assert lowered.outcome.result
    assert lowered.outcome.result["starts_clock"] is True
    assert lowered.outcome.result["next_allowed_at"] == "2026-04-02T00:00:00Z"
    assert lowered.subscription.rebalance.next_allowed_at == again
    driver.now = again - timedelta(microseconds=1)
    refused = await driver.plan(scan=400)
    assert refused.code == "rebalance_too_soon"
    assert refused.refusal.details["next_allowed_at"] == "2026-04-02T00:00:00Z"
    assert refused.audit[0].outcome == "denied"
    assert refused.audit[0].before == {"scan": 500, "hub": 400}
    free = await driver.plan(scan=550)
    assert free.code == "accepted"
    assert free.outcome.result
    assert free.outcome.result["next_allowed_at"] == "2026-04-02T00:00:00Z"
    driver.now = again
    assert (await driver.plan(scan=400)).code == "accepted"


async def test_a_preview_changes_nothing_and_is_audited(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.plan(scan=600, hub=300)
    await driver.measure(snapshot("scan", 450))
    tables = ("subscriptions", "allocations", "plans", "plan_changes")
    before = [await driver.pool.fetch(f"SELECT * FROM {table}") for table in tables]  # noqa: S608
    decision = await driver.plan(scan=500, hub=400, preview=True)
    assert decision.code == "accepted"
    assert decision.events == []
    assert decision.outcome.result == {
        "preview": True,
        "allowed": True,
        "before": [
            {"product": "scan", "allocated": 600, "consumed": 450},
            {"product": "hub", "allocated": 300, "consumed": 0},
        ],
        "after": [
            {"product": "scan", "allocated": 500, "consumed": 450},
            {"product": "hub", "allocated": 400, "consumed": 0},
        ],
        "unallocated_after": 100,
        "starts_clock": True,
        "next_allowed_at": "2026-04-01T00:00:00Z",
    }
    assert [(one.action, one.outcome) for one in decision.audit] == [("preview-plan", "allowed")]
    assert [await driver.pool.fetch(f"SELECT * FROM {table}") for table in tables] == before  # noqa: S608
    refused = await driver.plan(scan=449, preview=True)
    assert refused.code == "below_consumption"
    assert (await driver.plan(scan=449)).refusal == refused.refusal


async def test_the_floor_is_the_larger_window_and_the_term_to_date(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.plan(scan=600)
    driver.now = START + timedelta(days=16)
    await driver.measure(
        snapshot("scan", 300, at=START, burned_down=20), snapshot("scan", 200, at=driver.now, burned_down=50)
    )
    refused = await driver.plan(scan=349)
    assert refused.code == "below_consumption"
    assert {name: refused.refusal.details[name] for name in ("product", "requested", "consumed")} == {
        "product": "scan",
        "requested": 349,
        "consumed": 350,
    }
    assert (await driver.plan(scan=350, preview=True)).code == "accepted"
    assert (await driver.plan(scan=349, accept_overage=True, preview=True)).code == "accepted"
    driver.now = START + timedelta(days=31)
    assert (await driver.plan(scan=250, preview=True)).code == "accepted"
    assert (await driver.plan(scan=249)).refusal.details["consumed"] == 250


async def test_a_plan_is_postponed_until_the_consumption_that_its_sender_saw_is_applied(
    driver: AllocationDriver,
) -> None:
    await driver.open()
    await driver.plan(scan=600)
    await driver.measure(snapshot("scan", 100, revision=4))
    seen = (SeenConsumption(product="scan", window_start=window_at(START, START).start, revision=5),)
    requested = command(lowered(300, seen), PRIMARY)
    await driver.postpone(requested)
    assert await driver.retry_postponed() == []
    await driver.measure(snapshot("scan", 400, revision=5), snapshot("scan", 100, revision=3))
    (decided,) = await driver.retry_postponed()
    assert (decided.outcome.command_id, decided.code) == (UUID(requested.id), "below_consumption")
    assert decided.refusal.details["consumed"] == 400
    assert await driver.retry_postponed() == []


async def test_later_commands_of_a_key_are_decided_in_order_when_a_plan_is_postponed(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.open(subscription="globex-flex")
    await driver.plan(scan=600)
    seen = (SeenConsumption(product="scan", window_start=START, revision=1),)
    await driver.postpone(command(lowered(300, seen), PRIMARY), key="acme-flex")
    await driver.postpone(command(lowered(700), PRIMARY), key="acme-flex")
    other = lowered(5).model_copy(update={"subscription": "globex-flex"})
    assert (await driver.decide(command(other, PRIMARY), key="globex-flex")).code == "accepted"
    assert await driver.retry_postponed() == []
    await driver.measure(snapshot("scan", 100))
    first, second = await driver.retry_postponed() + await driver.retry_postponed()
    assert [first.events[0].changes[0].after, second.events[0].changes[0].after] == [300, 700]


async def test_a_plan_may_be_sent_again_when_it_was_unavailable(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.plan(scan=600)
    seen = (SeenConsumption(product="scan", window_start=START, revision=1),)
    requested = command(lowered(300, seen), PRIMARY)
    await driver.postpone(requested)
    driver.now += timedelta(seconds=driver.wait_seconds)
    (late,) = await driver.retry_postponed()
    assert (late.code, late.refusal.details["retry_after_seconds"]) == ("unavailable", 1)
    assert [(one.outcome, one.reason) for one in late.audit] == [("denied", "unavailable")]
    await driver.measure(snapshot("scan", 100))
    assert (await driver.decide(requested)).code == "accepted"
    assert (await driver.decide(requested)).events == []


def lowered(units: int, seen: tuple[SeenConsumption, ...] = ()) -> ApplyPlan:
    change = PlannedChange(product="scan", units=units)
    return ApplyPlan(subscription="acme-flex", changes=(change,), seen=seen)


async def test_an_override_is_refused_when_it_is_not_the_vendors_or_has_no_reason(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.plan(scan=600)
    await driver.plan(scan=500)
    assert (await driver.plan(scan=400, override_reason="please")).code == "forbidden"
    assert (await driver.plan(scan=400, by=VENDOR, vendor=True)).code == "forbidden"
    decision = await driver.plan(scan=400, by=VENDOR, vendor=True, override_reason="a merger")
    assert decision.code == "accepted"
    assert decision.events[0].override_reason == "a merger"
    assert (decision.audit[0].action, decision.audit[0].reason) == ("override-plan", "a merger")


async def test_a_plan_must_cure_the_excess_when_the_pool_has_shrunk(driver: AllocationDriver) -> None:
    await driver.open(units=500)
    end = START + timedelta(days=30)
    await driver.sell(PurchaseLot(subscription="acme-flex", lot="short", units=500, order_reference="PO-2", end=end))
    await driver.plan(scan=600, hub=300)
    await driver.plan(scan=550)
    driver.now = end
    ended, over = await driver.settle_due()
    assert (ended.lot, over.purchased, over.allocated, over.excess) == ("short", 500, 850, 350)
    refused = await driver.plan(scan=200, hub=310)
    assert refused.code == "over_allocated"
    assert refused.refusal.details["excess"] == 350
    too_much = await driver.plan(scan=199)
    assert too_much.code == "rebalance_too_soon"
    cured = await driver.plan(scan=200)
    assert cured.code == "accepted"
    assert cured.events[0].starts_clock is False
    assert cured.subscription.rebalance.last_at == START
