"""Sentences of alerts: what happened, with the numbers, and what can be done."""

from services.alerts.domain.measures import Measure, Moment
from services.alerts.domain.rules import Threshold
from shared.units import percent_tenths
from shared.windows import days_left

_ABOUT = {
    "info": "the mark of {percent}%",
    "warning": "the warning threshold of {percent}%",
    "high": "the high threshold of {percent}%",
    "critical": "the critical threshold of {percent}%",
    "breach": "the breach threshold of {percent}%",
}


def message(measure: Measure, threshold: Threshold, name: str | None, moment: Moment) -> str:
    """Say what happened, and how long the window and the term still last.

    ``name`` is the product's.
    """
    return f"{_what(measure, threshold, name, moment.subscription.unit_label)} {_time_left(moment)}"


def actions(measure: Measure, name: str | None, moment: Moment) -> tuple[str, ...]:
    """List what can be done, the easiest first."""
    subscription = moment.subscription
    unit = subscription.unit_label
    unallocated = subscription.purchased(moment.now) - subscription.allocated
    if unallocated < 0:
        return (f"allocations can be lowered by {_count(-unallocated, unit)}, at any time", _top_up(unit))
    offered: list[str] = []
    if unallocated > 0 and measure.rule != "pool_allocation":
        offered.append(f"{_count(unallocated, f'unallocated {unit}')} can be allocated to {name or 'products'}")
    if len(subscription.products) > 1 and measure.rule != "pool_consumption":
        offered.append(_rebalance(moment))
    if unallocated == 0 or measure.rule == "pool_consumption":
        offered.append(_top_up(unit))
    return tuple(offered)


def _what(measure: Measure, threshold: Threshold, name: str | None, unit: str) -> str:
    part, whole = f"{measure.part:,}", f"{measure.whole:,}"
    match measure.rule:
        case "product_consumption" if measure.whole == 0:
            return f"{name} consumed {_count(measure.part, unit)} and has none allocated."
        case "product_consumption":
            did = f"{name} consumed {part} of its {whole} allocated {unit}"
        case "pool_consumption" if measure.whole == 0:
            return f"The products consumed {_count(measure.part, unit)} and the pool has none."
        case "pool_consumption":
            did = f"The products together consumed {part} of the pool's {whole} {unit}"
        case "pool_over_allocated":
            excess = _count(measure.part - measure.whole, unit)
            return f"{part} {unit} are allocated and {whole} are purchased: {excess} too many."
        case "pool_allocation":
            return f"All {whole} {unit} of the pool are allocated."
    return f"{did} ({_percent(measure)}), which reaches {_ABOUT[threshold.severity].format(percent=threshold.percent)}."


def _time_left(moment: Moment) -> str:
    days_of_window = days_left(moment.window.end, moment.now)
    days_of_term = days_left(moment.subscription.term_at(moment.now).end, moment.now)
    return f"The window ends in {_days(days_of_window)}, the term in {_days(days_of_term)}."


def _rebalance(moment: Moment) -> str:
    allowed_at = moment.subscription.rebalance.next_allowed_at
    if allowed_at is None or allowed_at <= moment.now:
        return "a rebalance is allowed now"
    return f"a rebalance is allowed from {allowed_at.day} {allowed_at:%B %Y}"


def _top_up(unit: str) -> str:
    return f"the vendor can add {unit} to the pool with a top-up"


def _percent(measure: Measure) -> str:
    tenths = percent_tenths(measure.part, measure.whole) or 0
    return f"{tenths // 10}.{tenths % 10}%"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}"


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"
