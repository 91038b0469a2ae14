"""Random lots and plans while the clock moves: units are never made or lost, and the rules hold after every step."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.allocation.domain import lots
from services.allocation.domain.floor import Consumption, Consumptions
from services.allocation.domain.plans import Decided, decide
from services.allocation.domain.subscriptions import Subscription
from shared.events.commands import ApplyPlan, PlannedChange, PurchaseLot
from shared.events.ids import ProductId
from shared.events.refusals import Refusal
from tests.unit.allocation.building import END, NINETY_DAYS, START, TICK, subscription

PRODUCTS = tuple(ProductId(one) for one in ("scan", "hub", "web"))
UNITS = st.integers(0, 120)
CHANGES = st.dictionaries(st.sampled_from(PRODUCTS), UNITS, min_size=1)


class Pool(RuleBasedStateMachine):
    """A plain ledger beside the domain: what was sold until when, and what each product has."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.sold: list[tuple[int, datetime, datetime]] = []
        self.ledger = dict.fromkeys(PRODUCTS, 0)
        self.rebalanced: dict[str, list[tuple[datetime, bool]]] = {}
        self.consumed: dict[ProductId, int] = {}
        self.of: Subscription

    @initialize(scope=st.sampled_from(["subscription", "product"]), hard=st.sets(st.sampled_from(PRODUCTS)))
    def begin(self, scope: Any, hard: set[str]) -> None:
        policies = dict.fromkeys(hard, "hard")
        self.of = subscription(lots=(), scope=scope, policies=policies, scan=0, hub=0, web=0)

    @rule(days=st.integers(0, 40))
    def wait(self, days: int) -> None:
        self.move_to(self.now + timedelta(days=days))

    @rule(tick=st.sampled_from([-TICK, timedelta(0)]))
    def wait_for_the_clock(self, tick: timedelta) -> None:
        times = [at for clock in self.rebalanced.values() for at, _ in clock]
        self.move_to(max(times, default=self.now) + NINETY_DAYS + tick)

    @precondition(lambda self: any(end > self.now for _, _, end in self.sold))
    @rule()
    def wait_for_the_end_of_a_lot(self) -> None:
        self.move_to(min(end for _, _, end in self.sold if end > self.now))

    def move_to(self, at: datetime) -> None:
        self.now = min(max(self.now, at), END - timedelta(days=1))

    @rule(units=st.integers(1, 200), days=st.integers(1, 200))
    def buy(self, units: int, days: int) -> None:
        end = min(self.now + timedelta(days=days), END)
        name = f"lot-{len(self.sold)}"
        asked = PurchaseLot(subscription="s-1", lot=name, units=units, order_reference="PO", end=end)
        bought = lots.purchase(self.of, asked, self.now)
        assert not isinstance(bought, Refusal)
        self.of = bought[0]
        self.sold.append((units, self.now, end))

    @rule(product=st.sampled_from(PRODUCTS), units=UNITS)
    def consume(self, product: ProductId, units: int) -> None:
        self.consumed[product] = units

    @rule(changes=CHANGES, accept=st.booleans(), override=st.booleans())
    def plan(self, changes: dict[ProductId, int], accept: bool, override: bool) -> None:
        asked = ApplyPlan(
            subscription="s-1",
            changes=tuple(PlannedChange(product=product, units=units) for product, units in changes.items()),
            accept_overage=accept,
            override_reason="asked for" if override else None,
        )
        consumptions: Consumptions = {one: Consumption(level=units) for one, units in self.consumed.items()}
        before, version = self.of, self.of.state.version
        decision = decide(before, asked, consumptions, self.now)
        assert decide(before, asked, consumptions, self.now) == decision
        assert before.state.version == version
        expected = self.expected_code(changes, accept=accept, override=override)
        if isinstance(decision, Refusal):
            assert decision.code == expected
            return
        assert expected is None
        self.settle(decision, changes, override=override)

    @rule(product=st.sampled_from(PRODUCTS), more=st.integers(0, 1))
    def fill(self, product: ProductId, more: int) -> None:
        """All that is left, or a unit more."""
        left = self.purchased() - sum(self.ledger.values())
        self.plan({product: max(0, self.ledger[product] + left + more)}, accept=False, override=False)

    @rule(units=st.integers(1, 200), away=st.integers(-2, 2))
    def lower(self, units: int, away: int) -> None:
        """About the excess of an over-allocated pool, or some units, from the largest."""
        product = max(PRODUCTS, key=lambda one: self.ledger[one])
        excess = sum(self.ledger.values()) - self.purchased()
        less = excess + away if excess > 0 else units
        self.plan({product: max(0, self.ledger[product] - less)}, accept=True, override=False)

    def settle(self, decided: Decided, changes: dict[ProductId, int], *, override: bool) -> None:
        assert decided.after.state.version == self.of.state.version + 1
        assert decided.starts_clock == self.counts(changes)
        if decided.starts_clock:
            for product in self.lowered(changes):
                key = product if self.of.state.rebalance.scope == "product" else "all"
                self.rebalanced.setdefault(key, []).append((self.now, override))
        self.ledger.update(changes)
        self.of = decided.after

    def lowered(self, changes: dict[ProductId, int]) -> list[ProductId]:
        return [product for product, units in changes.items() if units < self.ledger[product]]

    def purchased(self) -> int:
        return sum(units for units, start, end in self.sold if start <= self.now < end)

    def counts(self, changes: dict[ProductId, int]) -> bool:
        """Whether this is a rebalance that is not merely a cure."""
        total = sum({**self.ledger, **changes}.values())
        over = sum(self.ledger.values()) > self.purchased()
        return bool(self.lowered(changes)) and not (over and total >= self.purchased())

    def expected_code(self, changes: dict[ProductId, int], *, accept: bool, override: bool) -> str | None:
        """The rules again, as plainly as can be."""
        after, have = {**self.ledger, **changes}, self.purchased()
        allocated, total = sum(self.ledger.values()), sum(after.values())
        policies = {one.product: one.policy for one in self.of.state.products}
        raised = any(after[product] > self.ledger[product] for product in after)
        too_low = [one for one in self.lowered(changes) if changes[one] < self.consumed.get(one, 0)]
        scope = self.of.state.rebalance.scope
        clocks = self.lowered(changes) if scope == "product" else ["all"]
        times = [at for clock in clocks for at, _ in self.rebalanced.get(clock, [])]
        rules = {
            "invalid_request": after == self.ledger,
            "over_allocated": allocated > have and raised,
            "insufficient_units": allocated <= have < total,
            "below_consumption": any(not accept or policies[one] == "hard" for one in too_low),
            "rebalance_too_soon": self.counts(changes)
            and not override
            and any(self.now < at + NINETY_DAYS for at in times),
        }
        return next((code for code, broken in rules.items() if broken), None)

    @invariant()
    def units_are_neither_made_nor_lost(self) -> None:
        if not hasattr(self, "of"):
            return
        state = self.of.state
        assert {one.product: one.allocated for one in state.products} == self.ledger
        assert all(units >= 0 for units in self.ledger.values())
        assert state.purchased(self.now) == self.purchased()
        assert sum(lot.units for lot in state.lots) == sum(units for units, _, _ in self.sold)

    @invariant()
    def rebalances_are_ninety_days_apart_unless_overridden(self) -> None:
        for times in self.rebalanced.values():
            instants = sorted(set(times))
            for (earlier, _), (later, overridden) in pairwise(instants):
                assert overridden or later - earlier >= NINETY_DAYS

    @invariant()
    def what_is_announced_is_what_is_decided(self) -> None:
        if not hasattr(self, "of"):
            return
        announced = self.of.next_rebalance_at(self.now)
        times = [at for clock in self.rebalanced.values() for at, _ in clock]
        if self.of.state.rebalance.scope == "subscription":
            due = max(times) + NINETY_DAYS if times else None
            assert announced == (due if due and due > self.now else None)


TestPool = Pool.TestCase
