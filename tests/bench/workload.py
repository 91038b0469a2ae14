"""The workload: 10,000 subscriptions, 25 products, usage with a Zipf distribution.

It is the same for the same values.
"""

import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import accumulate

from shared.events.ids import AccountId, LotId, MeterId, ProductId, SubscriptionId
from shared.events.metering import ConsumptionSnapshot, MeterConsumption
from shared.events.state import (
    AccountState,
    Aggregation,
    Lot,
    Meter,
    PersonState,
    ProductState,
    Rate,
    RebalanceClock,
    SubscribedProduct,
    SubscriptionState,
    Term,
)
from tests.support.builders.people import person_id, text_key

PRODUCTS = 25
ACTIVE = 8
ACCOUNTS = 100
POOL, ALLOCATED = 1000, 100
BLOCK = 10
METER = "meter"
RESOURCES = 500
REPEATED, LATE, INVALID = 0.05, 0.01, 0.001
RECENT = 100_000
KINDS: tuple[Aggregation, ...] = ("unique", "sum", "unique", "peak")


@dataclass(frozen=True, slots=True)
class Workload:
    """``events`` of ``subscriptions`` subscriptions.

    Their terms began about ``age_days`` before ``now``.
    """

    events: int
    subscriptions: int
    now: datetime
    age_days: int = 100
    seed: int = 20261124

    def accounts(self) -> list[AccountState]:
        """Return the customers, each with some of the subscriptions."""
        return [
            AccountState(id=AccountId(account(number)), name=f"Account {number}", flex_enabled=True, version=1)
            for number in range(ACCOUNTS)
        ]

    def products(self) -> list[ProductState]:
        """Return 25 products of one meter: ``unique``, ``sum`` or ``peak``.

        Half of them are ``unique``.
        """
        rate = Rate(version=1, units=1, block=BLOCK, effective_from=self._start)
        return [
            ProductState(
                id=ProductId(product(number)),
                name=f"Product {number}",
                sources=(),
                meters=(
                    Meter(
                        meter=MeterId(METER),
                        name="Meter",
                        aggregation=KINDS[number % len(KINDS)],
                        reset="window",
                        rates=(rate,),
                    ),
                ),
                version=1,
            )
            for number in range(PRODUCTS)
        ]

    def states(self) -> Iterator[SubscriptionState]:
        """Yield the subscriptions, each with 8 products and its own calendar of windows."""
        for number in range(self.subscriptions):
            start = self._start + timedelta(hours=number % 360)
            end = start + timedelta(days=365)
            yield SubscriptionState(
                id=SubscriptionId(subscription(number)),
                account=AccountId(account(number % ACCOUNTS)),
                name=f"Subscription {number}",
                model="flex",
                state="active",
                term=Term(start=start, end=end),
                window_days=15,
                primary_contact=person_id(contact(number % ACCOUNTS)),
                lots=(
                    Lot(id=LotId("1"), units=POOL, start=start, end=end, order_reference="PO-1", purchased_at=start),
                ),
                products=tuple(
                    SubscribedProduct(product=ProductId(product(one)), allocated=ALLOCATED, subscribed_at=start)
                    for one in active(number)
                ),
                rebalance=RebalanceClock(every_days=90),
                version=1,
            )

    def people(self) -> Iterator[PersonState]:
        """Yield the primary contacts, one of each account."""
        for number in range(ACCOUNTS):
            email = contact(number)
            yield PersonState(
                id=person_id(email),
                account=AccountId(account(number)),
                email=email,
                name="Paula",
                text_key=text_key(email),
                version=1,
            )

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and value of each record, in order."""
        rng = random.Random(self.seed)
        shares = list(accumulate(1 / (rank + 1) for rank in range(self.subscriptions)))
        recent: list[tuple[bytes, bytes]] = []
        for number in range(self.events):
            if recent and rng.random() < REPEATED:
                yield recent[rng.randrange(len(recent))]
                continue
            chosen = bisect(shares, rng.random() * shares[-1])
            value = self.event(rng, number, chosen, rng.choice(active(chosen)))
            if rng.random() < INVALID:
                value = rng.choice((b"\xff" + value, value[:100], value.replace(b'"quantity":', b'"quantity":-')))
            record = subscription(chosen).encode(), value
            if len(recent) < RECENT:
                recent.append(record)
            else:
                recent[number % RECENT] = record
            yield record

    def event(self, rng: random.Random, number: int, chosen: int, of: int) -> bytes:
        """Encode an event of a subscription and a product, by their numbers.

        1 % come late, into closed windows.
        """
        back = timedelta(seconds=rng.random() * 3600)
        if rng.random() < LATE:
            back += timedelta(days=rng.randrange(16, 34))
        name, at = product(of), (self.now - back).isoformat().replace("+00:00", "Z")
        return (  # as json.dumps would write it, in half the time
            f'{{"specversion":"1.0","id":"{rng.getrandbits(64):016x}-{number:012d}","source":"/platforms/{name}",'
            f'"type":"unitpool.platform.usage.recorded.v1","subject":"{subscription(chosen)}","time":"{at}",'
            f'"datacontenttype":"application/json","data":{{"product":"{name}","meter":"{METER}",'
            f'"quantity":{rng.randrange(1, 100)},"resource":"resource-{rng.randrange(RESOURCES):06d}"}}}}'
        ).encode()

    def snapshots(self, state: SubscriptionState, windows: int) -> Iterator[ConsumptionSnapshot]:
        """Yield snapshots of each product in a subscription's newest windows.

        At most ``windows`` windows.
        """
        window = state.calendar.window_at(self.now)
        for ago in range(windows):
            if window.start < state.term.start:
                return
            for place, one in enumerate(state.products):
                consumed = (ago * 7 + place * 11) % (ALLOCATED - BLOCK)
                yield ConsumptionSnapshot.model_construct(
                    subscription=state.id,
                    product=one.product,
                    window_start=window.start,
                    window_end=window.end,
                    revision=1,
                    consumed=consumed,
                    meters=(measured(consumed),),
                    as_of=min(self.now, window.end),
                )
            window = state.calendar.before(window)

    @property
    def _start(self) -> datetime:
        return self.now.replace(minute=0, second=0, microsecond=0) - timedelta(days=self.age_days)


def account(number: int) -> str:
    """Return the id of an account."""
    return f"account-{number}"


def contact(number: int) -> str:
    """Return the primary contact of an account's subscriptions."""
    return f"paula@account-{number}.example"


def subscription(number: int) -> str:
    """Return the id of a subscription."""
    return f"subscription-{number:06d}"


def product(number: int) -> str:
    """Return the id of a product."""
    return f"product-{number:02d}"


def active(subscription: int) -> list[int]:
    """Return the numbers of the products that a subscription uses."""
    return [(subscription * 7 + step * 3) % PRODUCTS for step in range(ACTIVE)]


@cache
def measured(consumed: int) -> MeterConsumption:
    """Build a meter's part of a snapshot."""
    return MeterConsumption(
        meter=MeterId(METER),
        aggregation="sum",
        reset="window",
        aggregate=Decimal(consumed * BLOCK),
        units=1,
        block=BLOCK,
        rate_version=1,
        consumed=consumed,
    )
