"""Random commands while the clock moves.

Units are conserved, and the rules hold after every step.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.allocation.domain import lots, products, subscriptions, terms
from services.allocation.domain.advance import advance, conclude, next_due
from services.allocation.domain.catalogue import create_product, retire
from services.allocation.domain.floor import NOTHING, Measured
from services.allocation.domain.plans import decide
from services.allocation.domain.subscriptions import Subscription
from shared.events.commands.catalogue import CreateProduct
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.commands.subscriptions import PurchaseLot, RenewSubscription, VoidLot
from shared.events.ids import ProductId
from shared.events.refusals import Refusal
from shared.events.state import OveragePolicy
from tests.support.builders.subscriptions import NINETY_DAYS, START, TICK, subscription
from tests.support.references.pool import PRODUCTS, ReferencePool, Sold, Wanted

UNITS = st.integers(0, 120)
WANTED = st.dictionaries(st.sampled_from(PRODUCTS), UNITS, min_size=1)
PRODUCT = st.sampled_from(PRODUCTS)
DAY = timedelta(days=1)
FLEX = ("pending", "active", "grace")


class Pool(RuleBasedStateMachine):
    """The domain, the reference, and the state that a reader of the events knows."""

    def __init__(self) -> None:
        super().__init__()
        self.reference = ReferencePool()
        self.measured: dict[tuple[ProductId, datetime], Measured] = {}
        self.known_lots: set[str] = set()
        self.known_over = False
        self.known_restricted: set[str] = set()
        self.known_state = "pending"
        self.known_version = 7
        self.done = 0
        """Number of changes made.

        Commands that end a subscription are only drawn after many.
        """
        self.of: Subscription

    @initialize(scope=st.sampled_from(["subscription", "product"]), hard=st.sets(PRODUCT), early=st.booleans())
    def begin(self, scope: Any, hard: set[ProductId], early: bool) -> None:
        self.reference.scope, self.reference.hard = scope, hard
        of = subscription(lots=(), scope=scope, policies=dict.fromkeys(hard, "hard"), scan=0, hub=0, web=0)
        self.reference.now = START - 5 * DAY if early else START
        self.of = replace(of, settled_at=START - 6 * DAY).at(START - 6 * DAY)
        self.settle()

    # ---- time ------------------------------------------------------------------------------------------------------

    @rule(days=st.sampled_from([0, 1, 1, 2, 5, 15, 40]))
    def wait(self, days: int) -> None:
        self.move_to(self.reference.now + days * DAY)

    @precondition(lambda self: self.reference.rebalanced)
    @rule(tick=st.sampled_from([-TICK, timedelta(0)]))
    def wait_for_the_clock(self, tick: timedelta) -> None:
        times = [at for clock in self.reference.rebalanced.values() for at, _ in clock]
        self.move_to(max(times, default=self.reference.now) + NINETY_DAYS + tick)

    @precondition(lambda self: next_due(self.of, self.reference.now) is not None)
    @rule(tick=st.sampled_from([-TICK, timedelta(0), TICK]))
    def wait_for_what_is_due(self, tick: timedelta) -> None:
        self.move_to((next_due(self.of, self.reference.now) or self.reference.now) + tick)

    @precondition(lambda self: self.done > 12)
    @rule()
    def wait_for_the_end_of_the_term(self) -> None:
        self.move_to(self.reference.terms[-1][1] - DAY)

    def move_to(self, at: datetime) -> None:
        self.reference.now = max(self.reference.now, at)
        self.settle()

    def settle(self) -> None:
        advanced = advance(replace(self.of, measured=tuple(self.measured.values())), self.reference.now)
        self.of = advanced.subscription
        self.read(advanced.events)

    # ---- commands --------------------------------------------------------------------------------------------------

    def do(self, after: Subscription | Refusal, *, expected: str | None) -> bool:
        """Apply the result of a command; return False if it was refused as expected."""
        if isinstance(after, Refusal):
            assert after.code == expected, after
            return False
        assert expected is None
        if after is self.of:
            return True
        assert after.state.version == self.of.state.version + 1
        concluded = conclude(self.of, after, self.reference.now)
        self.of = concluded.subscription
        self.known_version += 1
        self.done += 1
        self.known_state = "cancelled" if self.reference.cancelled else self.known_state
        self.known_restricted -= {one.product for one in self.of.state.products if one.ended_at}
        self.read(concluded.events, same_version=True)
        return True

    def possible(self, *phases: str) -> str | None:
        return None if self.reference.phase() in phases else "subscription_not_active"

    @rule(units=st.integers(1, 200), first=st.sampled_from([0, 0, 0, 3, 30]), days=st.integers(1, 200))
    def buy(self, units: int, first: int, days: int) -> None:
        reference, name = self.reference, f"lot-{len(self.reference.sold)}"
        begin, end = reference.term
        start = max(reference.now, begin) + first * DAY
        until = min(start + days * DAY, end)
        expected = self.possible("pending", "active") or (None if start < until else "invalid_request")
        asked = PurchaseLot(subscription="s-1", lot=name, units=units, order_reference="PO", start=start, end=until)
        bought = lots.purchase(self.of, asked, reference.now)
        if self.do(bought if isinstance(bought, Refusal) else bought[0], expected=expected):
            reference.sold.append(Sold(name, units, start, until))
            self.known_lots |= {one.name for one in reference.counting()} & {name}
            self.note_pool()

    @precondition(lambda self: self.reference.sold)
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        lot = data.draw(st.sampled_from(self.reference.sold))
        expected = self.possible(*FLEX) or ("invalid_request" if lot.voided else None)
        voided = lots.void(self.of, VoidLot(subscription="s-1", lot=lot.name, reason="wrong"), self.reference.now)
        lot.voided = lot.voided or expected is None
        if self.do(voided if isinstance(voided, Refusal) else voided[0], expected=expected):
            self.known_lots.discard(lot.name)

    @precondition(lambda self: self.done > 5)
    @rule(days=st.integers(1, 300), units=st.integers(1, 200))
    def renew(self, days: int, units: int) -> None:
        reference, name = self.reference, f"lot-{len(self.reference.sold)}"
        start = reference.term[1]
        end = max(start, reference.now) + days * DAY
        asked = RenewSubscription(subscription="s-1", end=end, units=units, order_reference="PO", lot=name)
        expected = self.possible("pending", "active", "grace", "read_only")
        expected = expected or (None if reference.term == reference.terms[-1] else "already_exists")
        renewed = terms.renew(self.of, asked, reference.now)
        if isinstance(renewed, Refusal):
            self.do(renewed, expected=expected)
            return
        # Added before the command is done, because events of a term that has begun are checked against its pool.
        reference.terms.append((start, end))
        reference.sold.append(Sold(name, units, start, end))
        self.do(renewed[0], expected=expected)

    @rule(product=PRODUCT)
    def subscribe(self, product: ProductId) -> None:
        offered = create_product(CreateProduct(product=product, name="P"))
        if product in self.reference.retired:
            offered = retire(offered, START)
        known = "already_exists" if product in self.reference.given else None
        expected = self.possible(*FLEX) or known or ("product_retired" if product in self.reference.retired else None)
        if self.do(products.subscribe(self.of, product, offered, self.reference.now), expected=expected):
            self.reference.given[product] = 0
            self.reference.hard.discard(product)

    @precondition(lambda self: self.done > 5)
    @rule(product=PRODUCT)
    def unsubscribe(self, product: ProductId) -> None:
        expected = self.possible(*FLEX) or (None if product in self.reference.given else "product_not_subscribed")
        if expected is None:
            del self.reference.given[product]
        self.do(products.unsubscribe(self.of, product, self.reference.now), expected=expected)
        self.note_pool()

    @rule(product=PRODUCT, hard=st.booleans())
    def choose_policy(self, product: ProductId, hard: bool) -> None:
        expected = self.possible(*FLEX) or (None if product in self.reference.given else "product_not_subscribed")
        policy: OveragePolicy = "hard" if hard else "reserve"
        if self.do(products.set_policy(self.of, product, policy, self.reference.now), expected=expected):
            self.reference.hard = self.reference.hard - {product} | ({product} if hard else set())

    @precondition(lambda self: self.done > 8 and len(self.reference.retired) < len(PRODUCTS) - 1)
    @rule(product=PRODUCT)
    def retire(self, product: ProductId) -> None:
        self.reference.retired.add(product)
        self.reference.given.pop(product, None)
        self.of = replace(self.of, retired=frozenset(self.reference.retired))
        self.known_restricted.discard(product)
        self.settle()
        self.note_pool()

    @precondition(lambda self: self.done > 25)
    @rule()
    def cancel(self) -> None:
        expected = self.possible("pending", "active", "grace", "read_only")
        cancelled = subscriptions.cancel(self.of, self.reference.now)
        self.reference.cancelled = self.reference.cancelled or expected is None
        self.do(cancelled, expected=expected)

    @rule(product=PRODUCT, units=UNITS)
    def consume(self, product: ProductId, units: int) -> None:
        window = self.of.state.calendar.window_at(self.reference.now)
        self.measured[product, window.start] = Measured(product, window.start, window.end, 1, units, 0)
        self.settle()

    @precondition(lambda self: self.done > 3)
    @rule(product=PRODUCT)
    def overuse(self, product: ProductId) -> None:
        """Consume far above the allocation for more than 45 days."""
        for _ in range(4):
            self.consume(product, 1000)
            self.move_to(self.of.state.calendar.window_at(self.reference.now).end)

    @rule(wanted=WANTED, accept=st.booleans(), override=st.booleans())
    def plan(self, wanted: Wanted, accept: bool, override: bool) -> None:
        now = self.reference.now
        asked = ApplyPlan(
            subscription="s-1",
            changes=tuple(PlannedChange(product=product, units=units) for product, units in wanted.items()),
            accept_overage=accept,
            override_reason="asked for" if override else None,
        )
        consumptions = self.of.consumptions_at(now)
        decision = decide(self.of, asked, consumptions, now)
        assert decide(self.of, asked, consumptions, now) == decision
        floors = {product: consumptions.get(product, NOTHING).floor for product in PRODUCTS}
        expected = self.reference.refuses(wanted, floors, accept=accept, override=override)
        if isinstance(decision, Refusal):
            assert decision.code == expected
            return
        assert decision.starts_clock == self.reference.counts(wanted)
        self.reference.apply(wanted, override=override)
        self.do(decision.after, expected=expected)
        self.note_pool()

    @precondition(lambda self: self.reference.given)
    @rule(data=st.data(), more=st.integers(0, 1))
    def fill(self, data: st.DataObject, more: int) -> None:
        """Allocate all unallocated units, or one more."""
        product = data.draw(st.sampled_from(sorted(self.reference.given)))
        left = self.reference.purchased - self.reference.allocated
        self.plan({product: max(0, self.reference.given[product] + left + more)}, accept=False, override=False)

    @precondition(lambda self: self.reference.given)
    @rule(units=st.integers(1, 200), away=st.integers(-2, 2))
    def lower(self, units: int, away: int) -> None:
        """Lower the largest allocation by about the pool's excess, or by some units."""
        given = self.reference.given
        product = max(sorted(given), key=lambda one: given[one])
        excess = self.reference.allocated - self.reference.purchased
        less = excess + away if excess > 0 else units
        self.plan({product: max(0, given[product] - less)}, accept=True, override=False)

    # ---- the reader ------------------------------------------------------------------------------------------------

    def read(self, events: Sequence[Any], *, same_version: bool = False) -> None:
        for event in events:
            version = event.subscription.version
            assert version == self.known_version or (version == self.known_version + 1 and not same_version)
            self.known_version = version
            match type(event).__name__:
                case "LotStarted":
                    assert event.lot not in self.known_lots
                    self.known_lots.add(event.lot)
                case "LotEnded":
                    self.known_lots.remove(event.lot)
                case "LifecycleChanged":
                    assert event.before == self.known_state != event.after
                    self.known_state = event.after
                case "RestrictionChanged":
                    assert (event.product in self.known_restricted) != event.restricted
                    self.known_restricted ^= {event.product}
                case "PoolOverAllocated":
                    self.known_over = True
        self.note_pool()

    def note_pool(self) -> None:
        """Clear the over-allocation that the reader knows.

        It is cleared once the figures show that it is over.
        """
        if self.reference.allocated <= self.reference.purchased:
            self.known_over = False

    # ---- invariants ------------------------------------------------------------------------------------------------

    @invariant()
    def units_are_conserved(self) -> None:
        if not hasattr(self, "of"):
            return
        state, now = self.of.state, self.reference.now
        assert {one.product: one.allocated for one in state.active_products} == self.reference.given
        assert all(one.allocated == 0 for one in state.products if one.ended_at)
        assert all(units >= 0 for units in self.reference.given.values())
        assert state.purchased(now) == self.reference.purchased
        assert sum(lot.units for lot in state.lots) == sum(one.units for one in self.reference.sold)
        assert state.allocated == self.reference.allocated

    @invariant()
    def the_reader_knows_the_state(self) -> None:
        if not hasattr(self, "of"):
            return
        state, now, phase = self.of.state, self.reference.now, self.reference.phase()
        assert state.version == self.known_version
        assert self.known_state == state.state == self.of.lifecycle_at(now)
        assert state.state == phase or (state.state, phase) == ("exhausted", "active")
        assert self.known_restricted == {one.product for one in state.products if one.restricted}
        if phase != "cancelled":
            assert self.known_lots == {one.name for one in self.reference.counting()}
            assert self.known_over == (self.reference.allocated > self.reference.purchased)

    @invariant()
    def no_change_is_due(self) -> None:
        if not hasattr(self, "of"):
            return
        assert advance(self.of, self.reference.now).events == ()
        due = next_due(self.of, self.reference.now)
        assert due is None or due > self.reference.now

    @invariant()
    def the_pool_is_exhausted_when_all_is_consumed(self) -> None:
        if not hasattr(self, "of") or self.reference.phase() != "active":
            return
        consumptions = self.of.consumptions_at(self.reference.now)
        consumed = sum(consumptions.get(product, NOTHING).consumed for product in self.reference.given)
        assert (self.of.state.state == "exhausted") == (consumed >= self.reference.purchased > 0)

    @invariant()
    def rebalances_are_ninety_days_apart_unless_overridden(self) -> None:
        for times in self.reference.rebalanced.values():
            instants = sorted(set(times))
            for (earlier, _), (later, overridden) in pairwise(instants):
                assert overridden or later - earlier >= NINETY_DAYS

    @invariant()
    def the_published_time_of_the_next_rebalance_is_right(self) -> None:
        if not hasattr(self, "of") or self.reference.scope != "subscription":
            return
        times = [at for clock in self.reference.rebalanced.values() for at, _ in clock]
        due = max(times) + NINETY_DAYS if times else None
        assert self.of.next_rebalance_at(self.reference.now) == (due if due and due > self.reference.now else None)


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=200, stateful_step_count=60)
