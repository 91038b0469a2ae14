"""What a meter measured in a day, from its hours.

The day of a sum or count is the sum of its hours, that of a peak their largest, that of a latest level the last one,
and that of counted resources the number of distinct ones.
"""

from collections.abc import Sequence
from decimal import Context, Decimal

from services.metering.domain.catalogue import COUNT, LATEST, PEAK, SUM
from shared.events.daily_usage import Hour
from shared.resource_hours import LONGEST_GAP_HOURS, ResourceHour, distinct_resources

_EXACT = Context(prec=100)
HOURS_OF_A_DAY = 24


def level_hour(hour: int, amount: Decimal | int) -> Hour:
    """Return an hour with a sum, a count or a level."""
    return Hour(hour, plain_text(Decimal(amount)))


def resource_hour(hour: int, by_gap: Sequence[tuple[int | None, int]]) -> Hour:
    """Return an hour with distinct resources.

    ``by_gap``: how many of them were last seen how many hours before; ``None``: never, or more than 24 hours before.
    """
    returning = tuple((gap, number) for gap, number in by_gap if gap is not None and gap <= LONGEST_GAP_HOURS)
    return Hour(hour, str(sum(number for _, number in by_gap)), returning)


def day_aggregate(kind: int, hours: Sequence[Hour]) -> Decimal:
    """Return the aggregate of the day with these hours; 0 without any.

    They are in order.
    """
    if not hours:
        return Decimal(0)
    if kind in (SUM, COUNT):
        total = Decimal(0)
        for one in hours:
            total = _EXACT.add(total, Decimal(one.aggregate))
        return total
    if kind == PEAK:
        return max(Decimal(one.aggregate) for one in hours)
    if kind == LATEST:
        return Decimal(hours[-1].aggregate)
    resources = (ResourceHour(one.hour, int(one.aggregate), one.returning) for one in hours)
    return Decimal(distinct_resources(resources, 0, HOURS_OF_A_DAY))


def plain_text(amount: Decimal) -> str:
    """Write an amount without an exponent, and without zeros at the end of a fraction."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
