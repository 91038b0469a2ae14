"""The plan editor: the fields with their bounds, and the outcome of a plan."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from services.reporting.domain.overview import Overview, ProductOverview
from services.reporting.domain.previews import PlannedProduct, PlanPreview
from services.reporting.pages import wording
from services.reporting.pages.products import mark
from services.reporting.pages.view import Change, Plan, PlanField, Preview
from shared.consumption import USABLE_STATES
from shared.events.refusals import Refusal
from shared.units import MAX_UNITS, percent_tenths

GRAMMAR = "[ \u00a0\u202f]*([0-9]{1,16}|[1-9][0-9]{0,2}([, \u00a0\u202f])[0-9]{3}(?:\\2[0-9]{3}){0,4})[ \u00a0\u202f]*"
"""Expression of whole numbers of units, as the page writes them.

They have no separators, or are in groups of three with one separator throughout.

The script uses the same expression, so that its sum equals the server's.
"""
_GRAMMAR = re.compile(GRAMMAR)
_NO_DIGIT = re.compile("[^0-9]")
_OF_THE_SUM = frozenset({"insufficient_units"})


@dataclass(frozen=True, slots=True)
class Draft:
    """The values typed into the editor, and the errors about them, by product.

    ``error`` is about the whole plan, ``sum_error`` about the sum. ``offer_overage``: show the box by which a person
    accepts overage.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    sum_error: str | None = None
    accept_overage: bool = False
    offer_overage: bool = False

    def refused(self, refusal: Refusal, current: Mapping[str, int]) -> "Draft":
        """Copy the draft with the refusal beside the fields that caused it.

        A sentence about no field is kept as the error of the sum or of the whole plan.
        """
        by_field = {
            str(error["field"]).removeprefix("units.").split(".")[-1]: str(error["message"])
            for error in refusal.details.get("errors", ())
            if isinstance(error, Mapping) and "field" in error and "message" in error
        }
        errors = {product: message for product, message in by_field.items() if product in self.values}
        product = refusal.details.get("product")
        if isinstance(product, str) and product in self.values:
            errors.setdefault(product, refusal.message)
        if refusal.code == "rebalance_too_soon" and not errors:
            errors = dict.fromkeys(self._lowered(current), refusal.message)
        on_sum = refusal.message if refusal.code in _OF_THE_SUM else None
        return replace(
            self,
            errors=errors,
            sum_error=on_sum,
            error=None if errors or on_sum else refusal.message,
            offer_overage=self.accept_overage or refusal.code == "below_consumption",
        )

    def _lowered(self, current: Mapping[str, int]) -> list[str]:
        wanted = ((product, parse(value)) for product, value in self.values.items())
        return [product for product, units in wanted if units is not None and units < current.get(product, 0)]


def parse(text: str) -> int | None:
    """Parse units as people type them.

    By ``GRAMMAR``, at most ``MAX_UNITS``; ``None`` for any other text.
    """
    if not (read := _GRAMMAR.fullmatch(text)):
        return None
    units = int(_NO_DIGIT.sub("", read.group(1)))
    return units if units <= MAX_UNITS else None


def changes(overview: Overview, draft: Draft) -> tuple[dict[str, int], dict[str, str]]:
    """Return the draft's changes, and sentences about unreadable values, by product."""
    changed, unreadable = {}, {}
    for product in overview.products:
        text = draft.values.get(product.product, "")
        wanted = parse(text)
        if not text.strip():
            continue
        if wanted is None:
            unreadable[product.product] = "Type a whole number of units, zero or more, like 1500 or 1,500."
        elif wanted != product.allocated:
            changed[product.product] = wanted
    return changed, unreadable


def encode_plan(changed: Mapping[str, int]) -> str:
    """Encode a plan as one line, to compare the applied plan with the previewed one."""
    return ",".join(f"{product}={units}" for product, units in sorted(changed.items()))


def present_plan(overview: Overview, now: datetime, *, may_allocate: bool, draft: Draft | None = None) -> Plan:
    """Present the editor, with a draft or with today's allocations."""
    draft = draft or Draft()
    fields = tuple(_field(product, overview, draft) for product in sorted(overview.products, key=lambda one: one.name))
    total = sum(parse(one.value) if parse(one.value) is not None else one.current for one in fields)  # type: ignore[misc]
    status, rule = _status(overview, now, may_allocate)
    return Plan(
        status=status,
        rule=rule,
        open=overview.rebalance.allowed,
        editable=may_allocate and overview.state in USABLE_STATES and bool(fields),
        fields=fields,
        purchased=overview.purchased,
        total=total,
        free=overview.purchased - total,
        version=overview.version,
        unit_label=overview.unit_label,
        grammar=GRAMMAR,
        most=MAX_UNITS,
        error=draft.error,
        sum_error=draft.sum_error,
        offer_overage=draft.offer_overage,
        accept_overage=draft.accept_overage,
    )


def _field(product: ProductOverview, overview: Overview, draft: Draft) -> PlanField:
    key, current, floor = product.product, product.allocated, product.floor
    may_lower = overview.rebalance.allowed or overview.over_allocated > 0
    lowest = min(floor, current) if may_lower else current
    freed = sum(max(one.allocated - one.floor, 0) for one in overview.products if one.product != key)
    spare = max(overview.unallocated, 0) + (freed if overview.rebalance.allowed else 0)
    hint = f"Now {wording.count(current)}, floor {wording.count(floor)}"
    return PlanField(
        product=key,
        name=product.name,
        mark=mark(key),
        current=current,
        value=_typed(draft.values.get(key), current),
        lowest=lowest,
        highest=current if overview.over_allocated else current + spare,
        hint=hint,
        error=draft.errors.get(key),
    )


def _typed(text: str | None, current: int) -> str:
    """Return the text of a field: a formatted number, or unreadable text unchanged."""
    units = parse(text) if text and text.strip() else current
    return wording.count(units) if units is not None else (text or "")


def _status(overview: Overview, now: datetime, mine: bool) -> tuple[str, str]:
    """Return whether and when allocations may be lowered, and the rule.

    ``mine``: the reader may do it.
    """
    rebalance, label = overview.rebalance, overview.unit_label
    free = overview.unallocated
    every = rebalance.every_days
    if over := overview.over_allocated:
        return (
            "Only lowering is possible now.",
            f"{wording.units(over, label)} more are allocated than purchased. Lowering them is always allowed, "
            f"and does not start the {wording.days(every)}.",
        )
    unallocated = f"the {wording.units(free, label)} that {'is' if free == 1 else 'are'} still unallocated"
    if rebalance.allowed:
        return (
            "You can rebalance today." if mine else "A rebalance is allowed today.",
            f"Lowering any allocation starts {wording.days(every)} in which nothing else can be lowered. "
            "Allocating unallocated units is always allowed.",
        )
    if rebalance.next_allowed_at is None:
        return "Allocations cannot be changed now.", "They can be while the subscription is active or in grace."
    at = rebalance.next_allowed_at
    may = "you can allocate" if mine else "products can still receive"
    until = f"Until then {may} {unallocated}." if free else "Until then no units are free to allocate."
    return (f"The next rebalance is allowed on {wording.day(at)}, {wording.days_until(at, now)}.", until)


def present_preview(overview: Overview, answer: PlanPreview, changed: Mapping[str, int], command: str) -> Preview:
    """Present before and after of a plan, and whether it starts the clock."""
    names = {product.product: product.name for product in overview.products}
    before = {one.product: one.allocated for one in answer.before}
    rows = [
        _change(names.get(one.product, one.product), before.get(one.product, 0), one)
        for one in answer.after
        if before.get(one.product, 0) != one.allocated
    ]
    return Preview(
        changes=tuple(rows),
        unallocated_before=wording.count(overview.unallocated),
        unallocated_after=wording.count(answer.unallocated_after),
        consequence=_consequence(answer),
        previewed=encode_plan(changed),
        command_id=command,
    )


def _change(name: str, before: int, one: PlannedProduct) -> Change:
    after = one.allocated
    tenths = percent_tenths(one.consumed, after)
    return Change(
        name=name,
        before=wording.count(before),
        after=wording.count(after),
        difference=f"{'+' if after > before else wording.MINUS}{wording.count(abs(after - before))}",
        rises=after > before,
        utilisation=wording.percent(None if tenths is None else Decimal(tenths) / 10),
    )


def _consequence(answer: PlanPreview) -> str:
    if not answer.starts_clock:
        return "This does not start the rebalance clock."
    at = answer.next_allowed_at
    then = f" The next one will be allowed on {wording.day(at)}." if at else ""
    return f"This is a rebalance.{then}"
