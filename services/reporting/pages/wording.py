"""Numbers, dates and words as the page writes them. Pure; times are UTC."""

from datetime import datetime, timedelta
from decimal import Decimal

from shared.windows import days_left

MINUS = "\u2212"
_AGGREGATIONS = {
    "sum": "added up",
    "count": "events counted",
    "peak": "highest level",
    "unique": "distinct resources",
    "latest": "last level",
}


def count(value: int) -> str:
    """Format ``12345`` as ``12,345``; a negative number with a real minus sign."""
    return f"{value:,}".replace("-", MINUS)


def quantity(value: object) -> str:
    """Format a metered aggregate: thousands separated, no trailing zeros."""
    text = f"{Decimal(str(value)):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float | Decimal | None) -> str:
    """Format ``96.4`` as ``96.4 %``; a dash if there is nothing to divide by."""
    return "\u2013" if value is None else f"{Decimal(str(value)):,.1f}\u202f%"


def day(at: datetime) -> str:
    """Format a date as ``14 March 2027``."""
    return f"{at.day} {at:%B %Y}"


def span(start: datetime, end: datetime) -> str:
    """Format a span as ``12 to 26 November 2026``; the end is exclusive."""
    last = end - timedelta(microseconds=1)
    if (start.year, start.month) == (last.year, last.month):
        return f"{start.day} to {day(last)}"
    return f"{start.day} {start:%B} to {day(last)}" if start.year == last.year else f"{day(start)} to {day(last)}"


def minute(at: datetime, now: datetime) -> str:
    """Format a time as ``10:15 UTC`` today, ``23 November, 10:15 UTC`` on another day."""
    clock = f"{at:%H:%M} UTC"
    if at.date() == now.date():
        return clock
    year = "" if at.year == now.year else f" {at.year}"
    return f"{at.day} {at:%B}{year}, {clock}"


def days(number: int) -> str:
    """Format a number of days as ``1 day``, ``37 days``."""
    return f"{number} day" if number == 1 else f"{number:,} days"


def days_until(at: datetime, now: datetime) -> str:
    """Format the days until a time as ``today``, ``in 1 day``, ``in 37 days``."""
    left = days_left(at, now)
    return "today" if left == 0 or at.date() == now.date() else f"in {days(left)}"


def units(number: int, label: str) -> str:
    """Format units as ``1 unit``, ``1,240 units``.

    The vendor's own word for a unit is used.
    """
    word = label[:1].lower() + label[1:]
    singular = word[:-1] if word.endswith("s") and not word.endswith("ss") else word
    return f"{count(number)} {singular if number == 1 else word}"


def products(number: int) -> str:
    """Format a number of products as ``1 product``, ``8 products``."""
    return "1 product" if number == 1 else f"{number} products"


def counted_noun(meter: str) -> str:
    """Convert a meter's id to what it counts.

    ``agent-vm`` to ``agent VMs``, ``host`` to ``hosts``.
    """
    words = [word.upper() if word in {"vm", "api"} else word for word in meter.split("-")]
    last = words[-1]
    words[-1] = f"{last[:-1]}ies" if last.endswith("y") else last if last.endswith("s") else f"{last}s"
    return " ".join(words)


def aggregation(kind: str) -> str:
    """Describe an aggregation in two words."""
    return _AGGREGATIONS.get(kind, kind)
