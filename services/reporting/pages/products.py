"""The rows of products."""

import hashlib
from datetime import datetime

from services.reporting.domain.overview import MeterArithmetic, Overview, ProductOverview
from services.reporting.pages import wording
from services.reporting.pages.bars import product_bar
from services.reporting.pages.pool import needs_attention
from services.reporting.pages.view import MeterLine, ProductRow

MARKS = 36
"""Number of marks: twelve hues in three shapes each."""
_CLASSES = {
    "over": "Over",
    "near": "Near limit",
    "healthy": "Healthy",
    "under": "Under-used",
    "idle": "Idle",
}
_POLICIES = {
    "soft": ("Soft", "May go over; you are warned"),
    "reserve": ("Reserve", "Draws on unallocated units first"),
    "hard": ("Hard", "Stops at its allocation"),
}


def mark(product: str) -> str:
    """Return the product's hue and shape, as classes of the style sheet.

    They depend on its id only: a keyed hash, whose key was chosen so that the demo's products have distinct marks.
    """
    digest = hashlib.blake2s(product.encode(), digest_size=4, key=b"hue 18717").digest()
    number = int.from_bytes(digest, "big") % MARKS
    return f"h{number % 12} s{number // 12}"


def present_products(overview: Overview, now: datetime) -> tuple[ProductRow, ...]:
    """Present products that need attention first, then by allocation."""
    ordered = sorted(
        overview.products,
        key=lambda product: (
            not needs_attention(product),
            -(product.utilisation or 0) if needs_attention(product) else 0,
            -product.allocated,
            product.name,
        ),
    )
    return tuple(_row(product, overview, now) for product in ordered)


def _row(product: ProductOverview, overview: Overview, now: datetime) -> ProductRow:
    allocated, consumed = product.allocated, product.consumed
    word = _CLASSES.get(product.utilisation_class or "", "No usage yet" if allocated else "Nothing allocated")
    policy, meaning = _POLICIES.get(product.policy, (product.policy, ""))
    spoken = f"{wording.count(consumed)} consumed of {wording.count(allocated)} allocated"
    return ProductRow(
        id=product.product,
        name=product.name,
        mark=mark(product.product),
        klass=product.utilisation_class or "none",
        klass_word=word,
        needs_attention=needs_attention(product),
        restricted=product.restricted,
        bar=product_bar(allocated, consumed, spoken),
        consumed=wording.count(consumed),
        allocated=wording.count(allocated),
        utilisation=wording.percent(product.utilisation),
        policy=policy,
        policy_meaning=meaning,
        facts=_facts(product, overview),
        meters=tuple(_meter(meter, now) for meter in product.meters),
    )


def _facts(product: ProductOverview, overview: Overview) -> tuple[tuple[str, str, str], ...]:
    unused = product.unused
    facts = [
        ("Unused", wording.count(unused), "Allocated, not consumed")
        if unused >= 0
        else ("Over by", wording.count(-unused), "Consumed beyond its allocation"),
        ("Floor", wording.count(product.floor), "The allocation cannot go below this"),
    ]
    if product.drawn:
        facts.insert(1, ("Drawn", wording.count(product.drawn), "Of that, drawn from unallocated units"))
    window = overview.window
    facts.append(("Window", f"{wording.days(window.days_left)} left", wording.span(window.start, window.end)))
    return tuple(facts)


def _meter(meter: MeterArithmetic, now: datetime) -> MeterLine:
    counted_noun = wording.counted_noun(meter.meter)
    aggregate = wording.quantity(meter.aggregate)
    rate = f"{wording.units(meter.units, 'units')} per {wording.count(meter.block)}"
    notes = [f"Rate version {meter.rate_version}"]
    if meter.peak_at:
        notes.append(f"peak at {wording.minute(meter.peak_at, now)}")
    if meter.reset == "term":
        notes.append("counts over the whole term")
    if meter.provisional:
        notes.append("provisional, late usage may still arrive")
    return MeterLine(
        name=counted_noun[:1].upper() + counted_noun[1:],
        arithmetic=f"{aggregate} {counted_noun} \u00d7 {rate} = {wording.count(meter.consumed)}",
        how=wording.aggregation(meter.aggregation),
        notes=tuple(notes),
    )
