"""Live usage of the main account: something moves every second, and one product climbs over its next threshold."""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import Any

from deploy.local.demo.accounts import DemoAccount
from deploy.local.demo.api import Api, RefusedError
from deploy.local.demo.catalogue import PRODUCTS, DemoMeter, DemoProduct
from deploy.local.demo.doors import HTTP_PRODUCT, Doors
from deploy.local.demo.usage import Platform, Reported
from deploy.local.errors import LocalStackError

THRESHOLDS = (80, 90, 100, 110)
CLIMB_SECONDS = 45
REST_SECONDS = 120
"""From the beginning of the first climb to the next; later ones are rarer, or all would be over in an hour."""
LONG_REST_SECONDS = 900
TICK_SECONDS = 1.0
PLAN_SECONDS = 10.0
"""Without an answer by then, usage goes on without a climb."""
_HTTP_EVERY = 3


@dataclass(frozen=True, slots=True)
class Climb:
    """A product on its way to ``threshold`` percent: ``resources`` new resources will do it."""

    product: DemoProduct
    meter: DemoMeter
    threshold: int
    resources: int


def next_climb(overview: dict[str, Any]) -> Climb | None:
    """The product that needs least to cross its next threshold; ``None`` when all are beyond the last."""
    found: list[Climb] = []
    for row in overview["products"]:
        product = PRODUCTS.get(row["product"])
        if product is None or not row["allocated"]:
            continue
        meter = product.meters[0]
        if len(product.meters) > 1 or meter.aggregation != "unique":
            continue
        for threshold in THRESHOLDS:
            short = -(-row["allocated"] * threshold // 100) - row["consumed"]
            if short > 0:
                found.append(Climb(product, meter, threshold, short * meter.block // meter.units + 1))
                break
    return min(found, key=lambda climb: climb.resources, default=None)


class Live:
    """Publishes until cancelled."""

    def __init__(self, api: Api, doors: Doors, account: DemoAccount, subscription: str) -> None:
        self._api = api
        self._doors = doors
        self._account = account
        self._subscription = subscription
        self._chance = random.Random()  # noqa: S311 - invented usage
        self._run = f"{datetime.now(UTC):%Y%m%d%H%M%S}"
        self._number = 0

    async def run(self, say: Callable[[str], None]) -> None:
        """One climb after the other, with other products' usage in between."""
        for rest in chain([REST_SECONDS], repeat(LONG_REST_SECONDS)):
            climb = await self._plan()
            if climb:
                say(f"live: {climb.product.name} will cross {climb.threshold} % of its allocation in {CLIMB_SECONDS} s")
            left = climb.resources if climb else 0
            for tick in range(rest):
                new = min(left, -(-climb.resources // CLIMB_SECONDS)) if climb else 0
                left -= new
                try:
                    await self._tick(climb, new, tick)
                except LocalStackError as error:
                    say(f"live: {error}")
                await asyncio.sleep(TICK_SECONDS)

    async def _plan(self) -> Climb | None:
        try:
            path = f"/v1/subscriptions/{self._subscription}"
            return next_climb(await self._api.read(self._account.contact, path, limit_seconds=PLAN_SECONDS))
        except (RefusedError, LocalStackError):
            return None

    async def _tick(self, climb: Climb | None, new: int, tick: int) -> None:
        events = [self._report(climb.product, climb.meter, 1, self._fresh("live")) for _ in range(new)] if climb else []
        share = self._chance.choice(self._account.shares)
        product = PRODUCTS[share.product]
        meter = self._chance.choice(product.meters)
        if meter.aggregation == "unique":  # mostly what was seen before, now and then something new
            seen = f"{meter.id}-{self._chance.randrange(50):05}"
            events.append(self._report(product, meter, 1, seen))
        calls = PRODUCTS["api-guard"]
        events.append(self._report(calls, calls.meters[0], self._chance.randrange(40, 160), None))
        events.extend(self._swinging())
        await self._doors.report(events)
        if tick % _HTTP_EVERY == 0:
            web = PRODUCTS[HTTP_PRODUCT]
            await self._doors.report_over_http(
                HTTP_PRODUCT, [self._report(web, web.meters[0], self._chance.randrange(8, 14), None)]
            )

    def _swinging(self) -> Iterator[Reported]:
        """A new reading of each level whose last one counts: it goes up and down."""
        for share in self._account.shares:
            product = PRODUCTS[share.product]
            for meter in product.meters:
                if meter.aggregation == "latest":
                    units = share.allocated * (share.used_percent + self._chance.randint(-5, 5)) // 100
                    yield self._report(product, meter, units * meter.block // meter.units, None)

    def _report(self, product: DemoProduct, meter: DemoMeter, quantity: int, resource: str | None) -> Reported:
        self._number += 1
        platform = Platform(self._subscription, product, meter)
        return platform.report(datetime.now(UTC), f"live-{self._run}-{self._number}", quantity, resource)

    def _fresh(self, kind: str) -> str:
        return f"{kind}-{self._run}-{self._number}"
