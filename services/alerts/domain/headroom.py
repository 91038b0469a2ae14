"""Headroom: how far consumption may move before a subscription must be assessed.

Nearly every snapshot crosses no threshold. So each assessment computes the range of consumption that crosses none; a
snapshot within it is compared with a few numbers and saved, without loading state, levels or alerts.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from services.alerts.domain.crossing import Level, crossing_free_range
from services.alerts.domain.measures import Measure, Reading, Readings, retain_needed
from services.alerts.domain.rules import DEFAULT_RULES, FINGERPRINT
from shared.events.ids import ProductId


class Range(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The range of a share's part in which it crosses nothing.

    The part is strictly between ``above`` and ``below``. ``opening`` is its part before any reading.
    """

    above: int
    below: int
    opening: int


class Headroom(msgspec.Struct, frozen=True):
    """The headroom of a subscription in one window.

    It is valid in the window that began at ``window_start``, before ``until``. ``rules`` is the fingerprint of the
    rules it was computed from. ``products`` are those watched; ``pool`` is ``None`` if nothing is watched.
    """

    rules: int
    window_start: datetime
    until: datetime
    pool: Range | None
    products: dict[ProductId, Range]


def headroom_of(window_start: datetime, until: datetime, levels: Sequence[tuple[Measure, Level]]) -> Headroom:
    """Compute the headroom after an assessment, from its shares and their new levels."""
    between = {
        (share.rule, share.product): Range(
            *crossing_free_range(level.passed, share.whole, DEFAULT_RULES[share.rule].thresholds), share.opening
        )
        for share, level in levels
    }
    return Headroom(
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


def update_within(
    headroom: Headroom | None, readings: Readings, news: Sequence[Reading], now: datetime
) -> Readings | None:
    """Add ``news`` to the readings, in order, if all are within the headroom.

    Return the new readings, or ``readings`` itself if no reading was newer. ``None``: one of them may cross a
    threshold, so the subscription must be assessed.
    """
    if headroom is None or headroom.rules != FINGERPRINT or now >= headroom.until:
        return None
    taken, pool, has_changed, of_the_past = dict(readings), None, False, False
    for reading in news:
        key = reading.product, reading.window_start
        known = taken.get(key)
        if known is not None and known.revision >= reading.revision:
            continue
        share = headroom.products.get(reading.product)
        if reading.window_start == headroom.window_start:
            if share is not None:
                if not share.above < reading.consumed < share.below:
                    return None
                if pool is None:
                    pool = pool_part(headroom, taken)
                pool += reading.consumed - (share.opening if known is None else known.consumed)
                if headroom.pool is not None and not headroom.pool.above < pool < headroom.pool.below:
                    return None
        elif reading.window_start < headroom.window_start:
            # A past window counts only as the opening of the present one, while that has no reading.
            has_begun = (reading.product, headroom.window_start) in taken
            if share is not None and not has_begun and reading.burned_down != share.opening:
                return None
            of_the_past = True
        taken[key], has_changed = reading, True
    if of_the_past:
        return retain_needed(taken, headroom.window_start)
    return taken if has_changed else readings


def part_now(headroom: Headroom, readings: Readings, rule: str, product: ProductId | None) -> int | None:
    """Return the present part of a watched share of consumption.

    ``None`` is returned for other shares.
    """
    if rule == "pool_consumption" and headroom.pool is not None:
        return pool_part(headroom, readings)
    if rule == "product_consumption" and product is not None and product in headroom.products:
        reading = readings.get((product, headroom.window_start))
        return headroom.products[product].opening if reading is None else reading.consumed
    return None


def pool_part(headroom: Headroom, readings: Readings) -> int:
    """Return the consumption of all watched products in the headroom's window."""
    start = headroom.window_start
    consumed = {one.product: one.consumed for one in readings.values() if one.window_start == start}
    return sum([consumed.get(product, share.opening) for product, share in headroom.products.items()])
