"""Live usage of the main account.

In it one product after another crosses a threshold.
"""

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
from deploy.local.demo.usage import Platform, UsageEvent
from deploy.local.demo.usage_sender import HTTP_PRODUCT, UsageSender
from deploy.local.errors import LocalStackError

THRESHOLDS = (80, 90, 100, 110)
CLIMB_SECONDS = 45
REST_SECONDS = 120
"""Seconds from the first climb to the second.

Later ones are rarer; otherwise all would be done in an hour.
"""
LONG_REST_SECONDS = 900
TICK_SECONDS = 1.0
PLAN_SECONDS = 10.0
"""Longest wait for the overview; without it, usage goes on without a climb."""
_HTTP_EVERY = 3


@dataclass(frozen=True, slots=True)
class Climb:
    """A product that crosses ``threshold`` percent with ``resources`` new resources."""

    product: DemoProduct
    meter: DemoMeter
    threshold: int
    resources: int


def next_climb(overview: dict[str, Any]) -> Climb | None:
    """Return the climb with the fewest resources.

    Returns ``None`` if all products are beyond the last threshold. Only products whose one meter counts unique
    resources can climb.
    """
    found: list[Climb] = []
    for row in overview["products"]:
        product = PRODUCTS.get(row["product"])
        if product is None or not row["allocated"]:
            continue
        meter = product.meters[0]
        if len(product.meters) > 1 or meter.aggregation != "unique":
            continue
        for threshold in THRESHOLDS:
            missing = -(-row["allocated"] * threshold // 100) - row["consumed"]
            if missing > 0:
                found.append(Climb(product, meter, threshold, missing * meter.block // meter.units + 1))
                break
    return min(found, key=lambda climb: climb.resources, default=None)


class LiveUsage:
    """Publisher of the main account's live usage."""

    def __init__(self, api: Api, sender: UsageSender, account: DemoAccount, subscription: str) -> None:
        self._api = api
        self._sender = sender
        self._account = account
        self._subscription = subscription
        self._chance = random.Random()  # noqa: S311 - invented usage
        self._run = f"{datetime.now(UTC):%Y%m%d%H%M%S}"
        self._number = 0

    async def run(self, say: Callable[[str], None]) -> None:
        """Publish usage until cancelled.

        One climb follows another, with other products' usage in between.
        """
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
        if meter.aggregation == "unique":  # a few are new, most were reported before
            seen = f"{meter.id}-{self._chance.randrange(50):05}"
            events.append(self._report(product, meter, 1, seen))
        calls = PRODUCTS["api-guard"]
        events.append(self._report(calls, calls.meters[0], self._chance.randrange(40, 160), None))
        events.extend(self._readings())
        await self._sender.report(events)
        if tick % _HTTP_EVERY == 0:
            web = PRODUCTS[HTTP_PRODUCT]
            await self._sender.report_over_http(
                HTTP_PRODUCT, [self._report(web, web.meters[0], self._chance.randrange(8, 14), None)]
            )

    def _readings(self) -> Iterator[UsageEvent]:
        """A reading for each ``latest`` meter, randomly above or below its level."""
        for share in self._account.shares:
            product = PRODUCTS[share.product]
            for meter in product.meters:
                if meter.aggregation == "latest":
                    units = share.allocated * (share.used_percent + self._chance.randint(-5, 5)) // 100
                    yield self._report(product, meter, units * meter.block // meter.units, None)

    def _report(self, product: DemoProduct, meter: DemoMeter, quantity: int, resource: str | None) -> UsageEvent:
        self._number += 1
        platform = Platform(self._subscription, product, meter)
        return platform.report(datetime.now(UTC), f"live-{self._run}-{self._number}", quantity, resource)

    def _fresh(self, kind: str) -> str:
        return f"{kind}-{self._run}-{self._number}"
