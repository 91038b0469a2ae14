"""Geometry of the two kinds of bars, exact until the last step."""

from fractions import Fraction

from services.reporting.pages.view import Bar, Segment

PRODUCT_SCALE = Fraction(5, 4)
"""Whole of a product's bar, as a multiple of its allocation.

A bar shows up to 125 % of the allocation. All bars have the same whole, so that the ticks of all rows are aligned.
"""
TICKS = (80, 90, 100)


def _percent(part: Fraction | int) -> str:
    return f"{float(part * 100):.3f}".rstrip("0").rstrip(".") + "%"


def _segments(scale: int | Fraction, pieces: list[tuple[str, int | Fraction, int | Fraction]]) -> tuple[Segment, ...]:
    """Convert pieces of (kind, from, to) to segments; empty ones are left out."""
    return tuple(
        Segment(kind, _percent(Fraction(start) / scale), _percent(Fraction(end - start) / scale))
        for kind, start, end in pieces
        if end > start
    )


def pool_bar(purchased: int, allocated: int, consumed: int, label: str) -> Bar:
    """Build the pool's bar, whose whole is the purchased units.

    What is allocated or consumed beyond follows after it.
    """
    whole = max(purchased, allocated, consumed, 1)
    inside, used = min(allocated, purchased), min(consumed, purchased)
    pieces = [
        ("consumed", 0, min(used, inside)),
        ("over", min(used, inside), used),
        ("allocated", used, inside),
        ("free", max(inside, used), purchased),
        ("over", purchased, consumed),
        ("overhang", max(purchased, consumed), allocated),
    ]
    return Bar(label, _segments(whole, list(pieces)), _percent(Fraction(purchased, whole)))


def product_bar(allocated: int, consumed: int, label: str) -> Bar:
    """Build a product's bar, with ticks at 80, 90 and 100 %.

    Consumption fills it up to the allocation; overage follows after it.
    """
    if allocated == 0:
        pieces: list[tuple[str, int | Fraction, int | Fraction]] = [("over", 0, 1 if consumed else 0)]
        return Bar(label, _segments(PRODUCT_SCALE, pieces), _percent(0), clipped=consumed > 0)
    used = Fraction(consumed, allocated)
    drawn = min(used, PRODUCT_SCALE)
    pieces = [("consumed", 0, min(drawn, Fraction(1))), ("allocated", min(drawn, Fraction(1)), 1), ("over", 1, drawn)]
    ticks = tuple(_percent(Fraction(tick, 100) / PRODUCT_SCALE) for tick in TICKS)
    return Bar(label, _segments(PRODUCT_SCALE, pieces), _percent(1 / PRODUCT_SCALE), ticks, used > PRODUCT_SCALE)
