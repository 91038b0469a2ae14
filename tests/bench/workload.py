"""Usage as the benchmark publishes it: 10,000 subscriptions (Zipf), 25 products, repeats, late and invalid events."""

import json
import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from shared.events.ids import AccountId, LotId, MeterId, ProductId, SubscriptionId
from shared.events.state import (
    Aggregation,
    Lot,
    Meter,
    Person,
    ProductState,
    Rate,
    RebalanceClock,
    SubscribedProduct,
    SubscriptionState,
    Term,
)

PRODUCTS = 25
ACTIVE = 8
RESOURCES = 500
REPEATED, LATE, INVALID = 0.05, 0.01, 0.001
RECENT = 100_000
KINDS: tuple[Aggregation, ...] = ("unique", "sum", "unique", "peak")


@dataclass(frozen=True, slots=True)
class Workload:
    """What is published; the same for the same values."""

    events: int
    subscriptions: int
    now: datetime
    seed: int = 20261124

    def products(self) -> list[ProductState]:
        """25 products of one meter, half of them ``unique``, the others ``sum`` and ``peak``."""
        rate = Rate(version=1, units=1, block=10, effective_from=self._start)
        return [
            ProductState(
                id=ProductId(_product(number)),
                name=f"Product {number}",
                sources=(),
                meters=(
                    Meter(
                        meter=MeterId("meter"),
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
        """The subscriptions, each with 8 products and windows of its own."""
        for number in range(self.subscriptions):
            start = self._start + timedelta(hours=number % 360)
            end = start + timedelta(days=365)
            yield SubscriptionState(
                id=SubscriptionId(_subscription(number)),
                account=AccountId(f"account-{number % 100}"),
                name=f"Subscription {number}",
                model="flex",
                state="active",
                term=Term(start=start, end=end),
                window_days=15,
                primary_contact=Person(email="paula@acme.example", name="Paula"),
                lots=(
                    Lot(id=LotId("1"), units=1000, start=start, end=end, order_reference="PO-1", purchased_at=start),
                ),
                products=tuple(
                    SubscribedProduct(product=ProductId(_product(one)), allocated=100, subscribed_at=start)
                    for one in _active(number)
                ),
                rebalance=RebalanceClock(every_days=90),
                version=1,
            )

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each record, in order."""
        rng = random.Random(self.seed)
        shares = list(accumulate(1 / (rank + 1) for rank in range(self.subscriptions)))
        recent: list[tuple[bytes, bytes]] = []
        for number in range(self.events):
            if recent and rng.random() < REPEATED:
                yield recent[rng.randrange(len(recent))]
                continue
            subscription = bisect(shares, rng.random() * shares[-1])
            value = self._event(rng, number, subscription)
            if rng.random() < INVALID:
                value = rng.choice((b"\xff" + value, value[:100], value.replace(b'"quantity":', b'"quantity":-')))
            record = _subscription(subscription).encode(), value
            if len(recent) < RECENT:
                recent.append(record)
            else:
                recent[number % RECENT] = record
            yield record

    def _event(self, rng: random.Random, number: int, subscription: int) -> bytes:
        product = rng.choice(_active(subscription))
        back = timedelta(seconds=rng.random() * 3600)
        if rng.random() < LATE:
            back += timedelta(days=rng.randrange(16, 34))
        event = {
            "specversion": "1.0",
            "id": f"{rng.getrandbits(64):016x}-{number:012d}",
            "source": f"/platforms/{_product(product)}",
            "type": "unitpool.platform.usage.recorded.v1",
            "subject": _subscription(subscription),
            "time": (self.now - back).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "data": {
                "product": _product(product),
                "meter": "meter",
                "quantity": rng.randrange(1, 100),
                "resource": f"resource-{rng.randrange(RESOURCES):06d}",
            },
        }
        return json.dumps(event, separators=(",", ":")).encode()

    @property
    def _start(self) -> datetime:
        return self.now.replace(minute=0, second=0, microsecond=0) - timedelta(days=100)


def _subscription(number: int) -> str:
    return f"subscription-{number:06d}"


def _product(number: int) -> str:
    return f"product-{number:02d}"


def _active(subscription: int) -> list[int]:
    return [(subscription * 7 + step * 3) % PRODUCTS for step in range(ACTIVE)]
