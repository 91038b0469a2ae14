"""Commands through the inbox: outcomes, events, tables and audit records."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from services.allocation.domain.time_limits import EARLIEST, LATEST
from shared.events.commands.accounts import CreateAccount, SetFlex
from shared.events.commands.catalogue import CreateMeter, CreateProduct, SetRate
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.commands.subscriptions import CreateSubscription, PurchaseLot, SetPolicy, SubscribeProduct
from shared.events.state import Person
from shared.runtime.delivery.transaction import Transaction
from tests.support.drivers.allocation import PRIMARY, START, VENDOR, AllocationDriver, command, decision_in, record

ACCOUNT, SUBSCRIPTION = "acme-flex-account", "acme-flex"


def another_subscription(n: int = 1) -> CreateSubscription:
    """Create a second subscription of the account."""
    return CreateSubscription(
        subscription=f"s-{n}",
        account=ACCOUNT,
        name="S",
        model="flex",
        start=START,
        end=START + timedelta(days=9),
        primary_contact=Person(email=PRIMARY, name="Paula"),
    )


async def test_a_repeated_command_has_one_effect_and_one_answer(driver: AllocationDriver) -> None:
    await driver.open()
    plan = ApplyPlan(subscription=SUBSCRIPTION, changes=(PlannedChange(product="scan", units=10),))
    requested = command(plan, PRIMARY)
    first = await driver.decide(requested)
    driver.now += timedelta(days=1)
    again = await driver.decide(requested)
    assert (first.code, len(first.events), len(first.audit)) == ("accepted", 1, 1)
    assert again.outcome == first.outcome
    assert (again.events, again.audit) == ([], [])
    refused = await driver.ask(plan, PRIMARY, id=(same := str(uuid4())))
    await driver.sell(PurchaseLot(subscription=SUBSCRIPTION, lot="more", units=1, order_reference="PO"))
    repeated = await driver.ask(plan, PRIMARY, id=same)
    assert refused.code == "invalid_request"
    assert repeated.outcome == refused.outcome


async def test_enabling_the_feature_changes_nothing_when_it_is_enabled(driver: AllocationDriver) -> None:
    created = await driver.sell(CreateAccount(account="acme", name="Acme"))
    assert created.events[0].account.flex_enabled is False
    assert (await driver.ask(CreateAccount(account="acme", name="B"), VENDOR, vendor=True)).code == "already_exists"
    enable = SetFlex(account="acme", enabled=True, reason="on request")
    enabled = await driver.sell(enable)
    assert (enabled.events[0].account.flex_enabled, enabled.events[0].reason) == (True, "on request")
    assert (enabled.outcome.version, enabled.audit[0].reason) == (2, "on request")
    again = await driver.sell(enable)
    assert (again.events, again.outcome.version) == ([], 2)
    missing = await driver.ask(SetFlex(account="other", enabled=True, reason="x"), VENDOR, vendor=True)
    assert missing.code == "not_found"


async def test_a_product_is_loaded_as_it_was_saved(driver: AllocationDriver) -> None:
    await driver.sell(CreateProduct(product="cloud", name="Cloud", sources=("/a", "/b")))
    for meter, block in (("vm", 1), ("function", 100)):
        add = CreateMeter(product="cloud", meter=meter, name=meter, aggregation="peak", units=8, block=block)
        await driver.sell(add)
    later = START + timedelta(days=40)
    changed = await driver.sell(SetRate(product="cloud", meter="function", units=9, block=100, effective_from=later))
    state = changed.events[0].product
    assert (state.sources, state.version, changed.events[0].change) == (("/a", "/b"), 4, "rate_added")
    assert [meter.meter for meter in state.meters] == ["vm", "function"]
    assert [(one.version, one.units, one.block) for one in state.meters[1].rates] == [(1, 8, 100), (2, 9, 100)]
    assert state.meters[1].rate_at(later).version == 2
    overlapping = await driver.ask(
        SetRate(product="cloud", meter="function", units=1, block=1, effective_from=later), VENDOR, vendor=True
    )
    assert overlapping.refusal.details["errors"][0]["field"] == "effective_from"
    again = CreateMeter(product="cloud", meter="vm", name="x", aggregation="sum", units=1, block=1)
    assert (await driver.ask(again, VENDOR, vendor=True)).code == "already_exists"
    nothing = SetRate(product="none", meter="vm", units=1, block=1)
    assert (await driver.ask(nothing, VENDOR, vendor=True)).code == "not_found"
    twice = CreateProduct(product="cloud", name="x")
    assert (await driver.ask(twice, VENDOR, vendor=True)).code == "already_exists"


async def test_a_subscription_is_loaded_as_it_was_published(driver: AllocationDriver) -> None:
    await driver.open()
    decision = await driver.plan(scan=600)
    state = decision.subscription
    assert (state.state, state.purchased(driver.now), state.allocated) == ("active", 1000, 600)
    assert [one.policy for one in state.products] == ["soft", "soft"]
    changed = await driver.ask(SetPolicy(subscription=SUBSCRIPTION, product="hub", overage="hard"))
    assert (changed.events[0].before, changed.events[0].after) == ("soft", "hard")
    after = changed.subscription
    products = (state.products[0], state.products[1].model_copy(update={"policy": "hard"}))
    assert after == state.model_copy(update={"version": state.version + 1, "products": products})
    same = await driver.ask(SetPolicy(subscription=SUBSCRIPTION, product="hub", overage="hard"))
    assert (same.code, same.events, same.outcome.version) == ("accepted", [], after.version)


async def test_a_lot_is_sold_with_its_defaults(driver: AllocationDriver) -> None:
    await driver.open(units=0)
    driver.now = START + timedelta(days=10)
    sold = await driver.sell(PurchaseLot(subscription=SUBSCRIPTION, lot="l-1", units=5, order_reference="PO-7"))
    lot = sold.events[0].lot
    assert (lot.start, lot.end, lot.units) == (driver.now, START + timedelta(days=365), 5)
    assert sold.subscription.lots == (lot,)
    assert (sold.outcome.resource, sold.outcome.version) == (SUBSCRIPTION, sold.subscription.version)
    twice = PurchaseLot(subscription=SUBSCRIPTION, lot="l-1", units=5, order_reference="PO-7")
    assert (await driver.ask(twice, VENDOR, vendor=True)).code == "already_exists"


async def test_a_subscription_is_refused_when_its_account_is_missing_or_lacks_the_feature(
    driver: AllocationDriver,
) -> None:
    await driver.open()
    requested = another_subscription()
    missing = requested.model_copy(update={"account": "nobody"})
    assert (await driver.ask(missing, VENDOR, vendor=True)).code == "not_found"
    assert (await driver.ask(requested, VENDOR, vendor=True)).code == "accepted"
    assert (await driver.ask(requested, VENDOR, vendor=True)).code == "already_exists"
    await driver.sell(CreateAccount(account="plain", name="Plain"))
    plain = requested.model_copy(update={"account": "plain", "subscription": "s-9"})
    assert (await driver.ask(plain, VENDOR, vendor=True)).code == "feature_not_enabled"


@pytest.mark.parametrize("at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
async def test_a_command_is_refused_with_its_field_when_a_time_cannot_be_stored(
    driver: AllocationDriver, at: datetime
) -> None:
    await driver.open()
    meter = CreateMeter(product="scan", meter="m", name="M", aggregation="sum", units=1, block=1, effective_from=at)
    rate = SetRate(product="scan", meter="host", units=1, block=1, effective_from=at)
    term = another_subscription().model_copy(update={"end": at, "start": at})
    lot = PurchaseLot(subscription=SUBSCRIPTION, lot="l-9", units=1, order_reference="PO", start=at, end=at)
    for payload, field in ((meter, "effective_from"), (rate, "effective_from"), (term, "start"), (lot, "end")):
        decision = await driver.ask(payload, VENDOR, vendor=True)
        assert decision.code == "invalid_request"
        assert field in {one["field"] for one in decision.refusal.details["errors"]}
    assert (await driver.plan(scan=5)).code == "accepted"


async def test_a_term_may_last_for_centuries(driver: AllocationDriver) -> None:
    await driver.open()
    ages = {"start": EARLIEST, "end": LATEST - timedelta(microseconds=1)}
    decision = await driver.ask(another_subscription().model_copy(update=ages), VENDOR, vendor=True)
    assert decision.code == "accepted"
    bought = await driver.sell(PurchaseLot(subscription="s-1", lot="l-1", units=5, order_reference="PO"))
    assert bought.subscription.term == decision.subscription.term
    await driver.sell(SubscribeProduct(subscription="s-1", product="scan"))
    assert (await driver.plan("s-1", scan=5)).code == "accepted"


async def test_due_changes_are_not_saved_when_the_plan_is_refused(driver: AllocationDriver) -> None:
    await driver.open(days=10)
    driver.now += timedelta(days=11)
    versions = "SELECT version, settled_at FROM subscriptions"
    before = await driver.pool.fetchrow(versions)
    refused = await driver.plan(scan=5000)
    assert (refused.code, refused.events) == ("insufficient_units", [])
    assert [one.action for one in refused.audit] == ["apply-plan"]
    assert await driver.pool.fetchrow(versions) == before
    assert await driver.pool.fetchval("SELECT count(*) FROM inbox WHERE outcome LIKE '%insufficient_units%'") == 1
    assert [one.after for one in await driver.settle_due()] == ["grace"]


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        ({"scan": 5000}, "insufficient_units"),
        ({"scan": 10, "expected_version": 1}, "stale_version"),
        ({"scan": 0}, "invalid_request"),
        ({"other": 1}, "product_not_subscribed"),
    ],
)
async def test_only_the_inbox_is_written_when_a_plan_is_refused(
    driver: AllocationDriver, plan: dict[str, int], code: str
) -> None:
    await driver.open()
    version = plan.pop("expected_version", None)
    changes = tuple(PlannedChange(product=product, units=units) for product, units in plan.items())
    requested = ApplyPlan(subscription=SUBSCRIPTION, changes=changes, expected_version=version)
    sent = await driver.identified(command(requested, PRIMARY))
    ran: list[str] = []
    async with driver.pool.acquire() as connection, connection.transaction():
        connection.add_query_logger(lambda one: ran.append(one.query))
        tx = Transaction(connection, driver.now, service="allocation")
        await driver.inbox()(tx, [record(sent)])
    assert decision_in(tx.pending).code == code
    assert [query.split()[:3] for query in ran if not query.lstrip().startswith(("SELECT", "COMMIT"))] == [
        ["INSERT", "INTO", "inbox"]
    ]
