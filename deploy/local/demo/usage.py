"""The usage that the demo's platforms report.

It is always the same for an account, a window and a meter.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from deploy.local.demo.accounts import DemoAccount, Share
from deploy.local.demo.catalogue import PRODUCTS, DemoMeter, DemoProduct
from shared.events.usage import UsageRecorded
from shared.units import units_for
from shared.windows import Window, window_at

LEVEL_READINGS = 15
"""Readings of a level in a window, evenly spread."""
BUSY_PART = 6
"""Tenths of a window in which all its resources are reported first."""


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One usage event: its time, its Kafka key, and its structured JSON."""

    at: datetime
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Platform:
    """One product's platform, reporting one meter of one subscription."""

    subscription: str
    product: DemoProduct
    meter: DemoMeter

    def report(self, at: datetime, identity: str, quantity: int, resource: str | None = None) -> UsageEvent:
        """Create one event as the platform sends it."""
        data: dict[str, object] = {"product": self.product.id, "meter": self.meter.id, "quantity": quantity}
        if resource is not None:
            data["resource"] = resource
        event = {
            "specversion": "1.0",
            "id": f"{self.subscription}-{self.meter.id}-{identity}",
            "source": self.product.source,
            "type": UsageRecorded.event_type,
            "subject": self.subscription,
            "time": at.isoformat(),
            "datacontenttype": "application/json",
            "data": data,
        }
        return UsageEvent(at, self.subscription, json.dumps(event).encode())


def windows(account: DemoAccount, until: datetime) -> list[Window]:
    """All windows of the account that began before ``until``."""
    result = [window_at(account.start, account.start)]
    while result[-1].end < until:
        result.append(Window(result[-1].end, result[-1].end + (result[-1].end - result[-1].start)))
    return result


def usage_of(account: DemoAccount, subscription: str, since: datetime, now: datetime) -> Iterator[UsageEvent]:
    """All events of an account from ``since`` to before ``now``, not in order of time."""
    every = windows(account, now)
    for number, window in enumerate(every):
        if window.end <= since:
            continue
        shown = Window(window.start, min(window.end, now))
        for share in account.shares:
            product = PRODUCTS[share.product]
            for meter in product.meters:
                level = level_of(share, meter, number, len(every))
                for reported in _reports(Platform(subscription, product, meter), shown, level):
                    if since <= reported.at < now:
                        yield reported


def level_of(share: Share, meter: DemoMeter, number: int, count: int) -> int:
    """The aggregate of a meter in window ``number`` of ``count``.

    It grows from ``began_percent`` to ``used_percent`` of the meter's part of the allocation, with small variations. A
    meter that adds up over the term has the same in every window.
    """
    meters = len(PRODUCTS[share.product].meters)
    grown = share.began_percent + (share.used_percent - share.began_percent) * number // max(1, count - 1)
    percent = grown if number == count - 1 else max(1, grown + _hash(share.product, number) % 9 - 4)
    if meter.reset == "term":  # the whole term's consumption, spread evenly
        return share.allocated * share.used_percent * meter.block // (100 * meter.units * count)
    units = share.allocated * percent // (100 * meters)
    level = units * meter.block // meter.units
    while level > 1 and units_for(level, meter.units, meter.block) > units:
        level -= 1
    return max(1, level)


def _reports(platform: Platform, window: Window, level: int) -> Iterator[UsageEvent]:
    length = window.end - window.start
    name = platform.meter.id
    if platform.meter.aggregation == "unique":
        busy = length * BUSY_PART / 10
        for number in range(level):
            at = window.start + busy * ((number * 7919) % level) / level
            yield platform.report(at, f"{window.start:%Y%m%d}-{number}", 1, f"{name}-{number:05}")
        return
    for number in range(LEVEL_READINGS):
        at = window.start + length * number / LEVEL_READINGS + timedelta(seconds=number)
        if platform.meter.aggregation == "sum":
            quantity = level // LEVEL_READINGS
        else:
            quantity = level if number in {4, LEVEL_READINGS - 1} else level * (80 + number % 21) // 100
        yield platform.report(at, f"{window.start:%Y%m%d}-{number}", quantity)


def _hash(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")
