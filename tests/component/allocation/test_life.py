"""The lifecycle of a subscription under a test clock: 13 months, then its end.

It uses the real handlers on a real database; the clock moves to each command and each due change. All events and
refusals are compared with ``approved/life.json``. To approve an intended change of that file, run
``UNITPOOL_APPROVE=1 python -m pytest tests/component/allocation/test_life.py`` and check the difference.
"""

import json
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from services.allocation.store.due_work import find_oldest_due
from shared.events.commands.accounts import CreateAccount, SetFlex
from shared.events.commands.catalogue import CreateMeter, CreateProduct, RetireProduct
from shared.events.commands.subscriptions import (
    CreateSubscription,
    LockRates,
    PurchaseLot,
    RenewSubscription,
    SetPolicy,
    SubscribeProduct,
    UnsubscribeProduct,
    VoidLot,
)
from shared.events.envelope import Payload
from shared.events.metering import ConsumptionSnapshot
from shared.events.state import Person
from shared.windows import window_at
from tests.support.drivers.allocation import PRIMARY, START, VENDOR, AllocationDriver, snapshot

APPROVED = Path(__file__).with_name("approved") / "life.json"
SUBSCRIPTION = "acme-flex"
END = START + timedelta(days=365)
NEXT_END = END + timedelta(days=30)
OVER = NEXT_END + timedelta(days=130)
Step = Callable[[], Awaitable[object]]


class Life:
    """A driver, and the log of its events and refusals."""

    def __init__(self, driver: AllocationDriver) -> None:
        self.driver = driver
        self.log: list[dict[str, Any]] = []
        self.revision = 0

    async def ask(self, payload: Payload, actor: str = VENDOR, **more: Any) -> None:
        """Decide a command; log its events or its refusal."""
        decision = await self.driver.ask(payload, actor, vendor=actor == VENDOR)
        for event in decision.events:
            self.note(event)
        if decision.outcome.refusal:
            self.log.append({"at": self.at, "refused": decision.code, "of": payload.event_type, **more})

    async def plan(self, **plan: Any) -> None:
        """Decide a plan; log the result.

        The actor is the primary contact, or with ``override_reason`` the vendor.
        """
        vendor = "override_reason" in plan
        decision = await self.driver.plan(SUBSCRIPTION, by=VENDOR if vendor else PRIMARY, vendor=vendor, **plan)
        for event in decision.events:
            self.note(event)
        if decision.outcome.refusal:
            self.log.append({"at": self.at, "refused": decision.refusal.code, **decision.refusal.details})

    async def measure(self, **levels: int) -> None:
        """Apply consumption, and bring the subscription up to date."""
        self.revision += 1
        await self.driver.measure(*(self.snapshot(product, level) for product, level in levels.items()))
        await self.settle_due()

    async def settle_due(self) -> None:
        """Bring the subscription up to date; log the events."""
        for event in await self.driver.settle_due():
            self.note(event)

    async def until(self, at: datetime) -> None:
        """Move the clock to ``at``, stopping at each due change."""
        while True:
            async with self.driver.pool.acquire() as connection:
                due = await find_oldest_due(connection)
            if due is None or due > at:
                break
            self.driver.now = max(self.driver.now, due)
            await self.settle_due()
        self.driver.now = at

    @property
    def at(self) -> str:
        """The present time, as in the log."""
        return f"{self.driver.now:%Y-%m-%d %H:%M}"

    def snapshot(self, product: str, level: int) -> ConsumptionSnapshot:
        """Build a snapshot of the present window, counted from the start of the term."""
        anchor = END if self.driver.now >= END else START
        window = window_at(anchor, self.driver.now)
        measured = snapshot(product, level, revision=self.revision)
        return measured.model_copy(update={"window_start": window.start, "window_end": window.end})

    def note(self, event: Any) -> None:
        """Log an event with the subscription's figures."""
        entry = {"at": self.at, "event": event.event_type.removeprefix("unitpool.allocation.").removesuffix(".v1")}
        entry |= event.model_dump(mode="json", exclude={"subscription"}, exclude_none=True)
        if isinstance(product := entry.get("product"), dict):
            entry["product"] = product["id"]
        state = getattr(event, "subscription", None)
        if state is not None:
            entry |= {
                "version": state.version,
                "state": state.state,
                "purchased": state.purchased(self.driver.now),
                "allocated": {one.product: one.allocated for one in state.active_products},
                "restricted": [one.product for one in state.products if one.restricted],
                "next_rebalance": str(state.rebalance.next_allowed_at or "now"),
            }
        self.log.append(entry)


async def test_the_lifecycle_of_a_subscription_equals_the_approved_one(driver: AllocationDriver) -> None:
    life = Life(driver)
    for day, step in script(life):
        await life.until(START + timedelta(days=day))
        await step()
    await life.until(OVER)
    text = json.dumps(life.log, indent=1, sort_keys=True) + "\n"
    if os.environ.get("UNITPOOL_APPROVE"):
        APPROVED.write_text(text, encoding="utf-8")
    assert json.loads(text) == json.loads(APPROVED.read_text(encoding="utf-8"))


async def test_events_are_the_same_when_due_work_was_not_done_for_a_month(driver: AllocationDriver) -> None:
    """Changes that became due meanwhile are published late, in order, and equal."""
    await driver.open(days=30)
    short = PurchaseLot(
        subscription=SUBSCRIPTION, lot="l-2", units=100, order_reference="PO", end=START + timedelta(days=9)
    )
    await driver.sell(short)
    await driver.plan(scan=1050)
    version = (await driver.plan(scan=1051)).subscription.version
    driver.now = START + timedelta(days=61)
    events = await driver.settle_due()
    assert [(type(one).__name__, one.subscription.version - version) for one in events] == [
        ("LotEnded", 1),
        ("PoolOverAllocated", 1),
        ("LifecycleChanged", 2),
        ("LifecycleChanged", 3),
    ]
    assert (events[1].purchased, events[1].excess) == (1000, 51)
    assert [one.after for one in events[2:]] == ["grace", "read_only"]


def script(life: Life) -> list[tuple[int, Step]]:
    """The commands and snapshots, with the day of the term for each."""
    return [
        (-20, lambda: _create(life)),
        (0, lambda: life.plan(scan=4000, hub=2000)),
        (1, lambda: life.measure(scan=3000, hub=1500)),
        (10, lambda: life.ask(_lot("typing-error", 90000))),
        (10, lambda: life.ask(VoidLot(subscription=SUBSCRIPTION, lot="typing-error", reason="a digit too many"))),
        (20, lambda: life.plan(scan=3500, hub=3000)),
        (21, lambda: life.plan(scan=3000)),
        (30, lambda: life.ask(_lot("project", 3000, end=START + timedelta(days=150)))),
        (31, lambda: life.ask(LockRates(subscription=SUBSCRIPTION, locked=True))),
        (32, lambda: life.ask(SetPolicy(subscription=SUBSCRIPTION, product="hub", overage="hard"), PRIMARY)),
        (40, lambda: life.plan(scan=3000, web=4000, override_reason="agreed with the account manager")),
        *[(46 + 15 * n, lambda: life.measure(web=4600, scan=2000, hub=1000)) for n in range(4)],
        (100, lambda: life.plan(web=4500)),
        (105, lambda: life.measure(web=4500, scan=3500, hub=2600)),
        (105, lambda: life.plan(scan=2900)),
        (105, lambda: life.plan(scan=2900, accept_overage=True)),
        (106, lambda: life.ask(_lot("top-up", 1000))),
        (150, lambda: life.plan(hub=3500)),
        (151, lambda: life.plan(hub=2500)),
        (200, lambda: life.ask(RetireProduct(product="hub"))),
        (201, lambda: life.ask(SubscribeProduct(subscription=SUBSCRIPTION, product="hub"), PRIMARY)),
        (210, lambda: life.ask(UnsubscribeProduct(subscription=SUBSCRIPTION, product="web"))),
        (211, lambda: life.ask(SubscribeProduct(subscription=SUBSCRIPTION, product="web"), PRIMARY)),
        (212, lambda: life.plan(web=4000)),
        (300, lambda: life.ask(_renewal())),
        (301, lambda: life.ask(_renewal(lot="once-more"))),
        (366, lambda: life.plan(web=4001)),
        (367, lambda: life.plan(web=3000)),
        (370, lambda: life.measure(scan=2000, web=2000)),
        (400, lambda: life.plan(web=2500)),
        (410, lambda: life.ask(_lot("late", 5))),
        (430, lambda: life.plan(web=2400)),
    ]


async def _create(life: Life) -> None:
    await life.ask(CreateAccount(account="acme", name="Acme"))
    await life.ask(SetFlex(account="acme", enabled=True, reason="on request"))
    contact = Person(email=PRIMARY, name="Paula")
    await life.driver.sell(
        CreateSubscription(
            subscription=SUBSCRIPTION,
            account="acme",
            name="Acme Flex",
            model="flex",
            start=START,
            end=END,
            primary_contact=contact,
        )
    )
    await life.ask(_lot("first-year", 7000, start=START))
    for product in ("scan", "hub", "web"):
        await life.driver.sell(CreateProduct(product=product, name=product.title()))
        meter = CreateMeter(product=product, meter="host", name="Hosts", aggregation="unique", units=1, block=1)
        await life.driver.sell(meter)
        await life.driver.sell(SubscribeProduct(subscription=SUBSCRIPTION, product=product))


def _lot(name: str, units: int, **span: datetime) -> PurchaseLot:
    return PurchaseLot(subscription=SUBSCRIPTION, lot=name, units=units, order_reference=f"PO-{name}", **span)


def _renewal(lot: str = "second-year") -> RenewSubscription:
    return RenewSubscription(subscription=SUBSCRIPTION, end=NEXT_END, units=6000, order_reference=f"PO-{lot}", lot=lot)
