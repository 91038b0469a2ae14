"""Usage by window, day and hour, and its encoding.

A year of days has thousands of items, so they are encoded by msgspec; the models describe the answer.
"""

from collections.abc import Iterable
from datetime import datetime, tzinfo
from typing import Literal

import msgspec

from services.reporting.api.fields import AnswerBody
from services.reporting.domain.quantity import quantity
from services.reporting.domain.usage import UsageItem as Item
from services.reporting.domain.usage_periods import UsageInterval, UsageShown
from shared.events.envelope import rfc3339
from shared.events.state import Aggregation, Reset


class TermToDate(AnswerBody):
    """The running totals of a meter that burns down, until the end of the span."""

    aggregate: int | str
    consumed: int


class UsageItem(AnswerBody):
    """What a span measured by itself. ``revision`` 0: no measurement.

    ``local_start``: the start in the requested time zone. ``term_to_date``: of a meter that burns down, unless its
    term began before the usage that is stored.
    """

    product: str
    meter: str
    start: datetime
    end: datetime
    aggregate: int | str
    consumed: int
    provisional: bool
    revision: int
    term_to_date: TermToDate | None
    local_start: str | None = None


class UsageMeter(AnswerBody):
    """A meter of the answer. ``additive``: its spans add up to longer ones."""

    product: str
    meter: str
    aggregation: Aggregation
    reset: Reset
    additive: bool


class PreviousUsage(AnswerBody):
    """The period of the same length before, as far as it is stored."""

    start: datetime
    end: datetime
    items: list[UsageItem]


class Usage(AnswerBody):
    """``additive``: the spans of every meter add up to longer ones."""

    items: list[UsageItem]
    interval: Literal["window", "day", "hour"]
    tz: str
    additive: bool
    meters: list[UsageMeter]
    as_of: datetime | None
    previous: PreviousUsage | None = None


class _Total(msgspec.Struct):
    aggregate: int | str
    consumed: int


class _Item(msgspec.Struct):
    product: str
    meter: str
    start: datetime
    end: datetime
    aggregate: int | str
    consumed: int
    provisional: bool
    revision: int
    term_to_date: _Total | None
    local_start: str | msgspec.UnsetType = msgspec.UNSET


class _Previous(msgspec.Struct):
    start: datetime
    end: datetime
    items: list[_Item]


class _Usage(msgspec.Struct):
    items: list[_Item]
    interval: UsageInterval
    tz: str
    additive: bool
    meters: list[object]
    as_of: datetime | None
    previous: _Previous | msgspec.UnsetType | None = msgspec.UNSET


_encoder = msgspec.json.Encoder()


def encode_usage(shown: UsageShown, interval: UsageInterval, zone: tzinfo, tz: str | None, *, compare: bool) -> bytes:
    """Encode usage as the JSON of ``Usage``.

    ``tz``: the name of the requested time zone; without one, items have no ``local_start``.
    """
    local = zone if tz is not None else None
    previous: _Previous | msgspec.UnsetType | None = msgspec.UNSET
    if compare:
        period, items = shown.previous, shown.previous_items
        previous = _Previous(period.start, period.end, list(_items(items, local))) if period else None
    return _encoder.encode(
        _Usage(
            items=list(_items(shown.items, local)),
            interval=interval,
            tz=tz or "UTC",
            additive=shown.additive,
            meters=list(shown.meters),
            as_of=shown.as_of,
            previous=previous,
        )
    )


def _items(items: Iterable[Item], local: tzinfo | None) -> Iterable[_Item]:
    for one in items:
        total = one.term_to_date
        yield _Item(
            one.product,
            one.meter,
            one.start,
            one.end,
            quantity(one.aggregate),
            one.consumed,
            one.provisional,
            one.revision,
            None if total is None else _Total(quantity(total.aggregate), total.consumed),
            msgspec.UNSET if local is None else rfc3339(one.start.astimezone(local)),
        )
