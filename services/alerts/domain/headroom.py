"""Leeway: how far consumption may move before anything has to be decided.

Nearly every snapshot crosses nothing. So each assessment leaves behind which consumption changes nothing; a snapshot
within it is compared with a few numbers and kept, without the subscription's state, its levels or its alerts.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from services.alerts.domain.crossing import Level, unmoved
from services.alerts.domain.measures import Measure, Reading, Readings, needed
from services.alerts.domain.rules import DEFAULT_RULES, FINGERPRINT
from shared.events.ids import ProductId


class Between(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A share crosses nothing while it is strictly between these. ``opening``: the part without a reading."""

    above: int
    below: int
    opening: int


class Leeway(msgspec.Struct, frozen=True):
    """What holds in the window that began at ``window_start``, before ``until``, under the rules of a fingerprint.

    ``products`` are those that are watched; ``pool`` is ``None`` where nothing is.
    """

    rules: int
    window_start: datetime
    until: datetime
    pool: Between | None
    products: dict[ProductId, Between]


def leeway_of(window_start: datetime, until: datetime, levels: Sequence[tuple[Measure, Level]]) -> Leeway:
    """The leeway that an assessment leaves: its shares, each with the level that it has now."""
    between = {
        (share.rule, share.product): Between(
            *unmoved(level.passed, share.whole, DEFAULT_RULES[share.rule].thresholds), share.opening
        )
        for share, level in levels
    }
    return Leeway(
        rules=FINGERPRINT,
        window_start=window_start,
        until=until,
        pool=between.get(("pool_consumption", None)),
        products={
            product: one
            for (rule, product), one in between.items()
            if rule == "product_consumption" and product is not None
        },
    )


def take_within(leeway: Leeway | None, readings: Readings, news: Sequence[Reading], now: datetime) -> Readings | None:
    """The readings with ``news`` taken in, in order, the same object where none was newer.

    ``None``: one of them may decide something, so everything has to be assessed.
    """
    if leeway is None or leeway.rules != FINGERPRINT or now >= leeway.until:
        return None
    taken, pool, has_changed, of_the_past = dict(readings), None, False, False
    for reading in news:
        key = reading.product, reading.window_start
        known = taken.get(key)
        if known is not None and known.revision >= reading.revision:
            continue
        share = leeway.products.get(reading.product)
        if reading.window_start == leeway.window_start:
            if share is not None:
                if not share.above < reading.consumed < share.below:
                    return None
                if pool is None:
                    pool = pool_part(leeway, taken)
                pool += reading.consumed - (share.opening if known is None else known.consumed)
                if leeway.pool is not None and not leeway.pool.above < pool < leeway.pool.below:
                    return None
        elif reading.window_start < leeway.window_start:
            # A window that is over matters only as what the present one began with, until there is a reading of that.
            has_begun = (reading.product, leeway.window_start) in taken
            if share is not None and not has_begun and reading.burned_down != share.opening:
                return None
            of_the_past = True
        taken[key], has_changed = reading, True
    if of_the_past:
        return needed(taken, leeway.window_start)
    return taken if has_changed else readings


def part_now(leeway: Leeway, readings: Readings, rule: str, product: ProductId | None) -> int | None:
    """The part of a watched share of consumption; ``None`` for other shares."""
    if rule == "pool_consumption" and leeway.pool is not None:
        return pool_part(leeway, readings)
    if rule == "product_consumption" and product is not None and product in leeway.products:
        reading = readings.get((product, leeway.window_start))
        return leeway.products[product].opening if reading is None else reading.consumed
    return None


def pool_part(leeway: Leeway, readings: Readings) -> int:
    """What the watched products consume together in the leeway's window."""
    start = leeway.window_start
    consumed = {one.product: one.consumed for one in readings.values() if one.window_start == start}
    return sum([consumed.get(product, share.opening) for product, share in leeway.products.items()])
