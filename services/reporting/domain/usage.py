"""Usage by window: what each window added, with 0 for windows without usage.

- An item per window, product and meter. Windows are those that overlap the requested time, have begun, and in which the
  product was subscribed to; windows without usage have 0 (and ``revision`` 0).
- For a meter that burns down, ``aggregate`` and ``consumed`` are what the window added, so that windows add up;
  ``term_to_date`` has the running totals. An old snapshot has only the totals; the difference of two is what was added.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, Protocol

from shared.events.metering import MeterConsumption
from shared.events.state import Meter, ProductState, SubscribedProduct, SubscriptionState
from shared.windows import Window


class MeasuredWindow(Protocol):
    """The measurement of one product in one window."""

    @property
    def product(self) -> str: ...
    @property
    def window_start(self) -> datetime: ...
    @property
    def window_end(self) -> datetime: ...
    @property
    def revision(self) -> int: ...
    @property
    def meters(self) -> Sequence[MeterConsumption]: ...


class RequestedTime(Protocol):
    """The part of time for which a subscription's usage is requested, as of ``now``."""

    @property
    def subscription(self) -> SubscriptionState: ...
    @property
    def start(self) -> datetime: ...
    @property
    def end(self) -> datetime: ...
    @property
    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class UsageRequest:
    """The requested part of a subscription's usage.

    Windows that overlap ``start`` to ``end``, as of ``now``.
    """

    subscription: SubscriptionState
    start: datetime
    end: datetime
    now: datetime
    product: str | None = None
    measured_only: bool = False
    """Whether to show each product from its first measured window to its last.

    True if the request has no start.
    """

    @property
    def rows_from(self) -> datetime:
        """The start of the oldest window to read.

        Running totals continue from earlier windows of the term.
        """
        first = self.subscription.calendar.window_at(self.start).start
        return min(self.subscription.term_at(first).start, first)

    def overlaps(self, window: Window) -> bool:
        """Whether the window is within the requested time."""
        return window.end > self.start and window.start < self.end


@dataclass(frozen=True, slots=True)
class MeterTotal:
    """A meter's aggregate, and the units that it amounts to."""

    aggregate: Decimal = Decimal(0)
    consumed: int = 0


class UsageItem(NamedTuple):
    """What one window added to one meter, or what a day or hour measured by itself.

    A tuple, as a year of days has thousands.

    ``revision`` 0: no measurement. ``term_to_date``: burn-down only. ``as_of``: until when usage of a day or hour is
    counted in.
    """

    product: str
    meter: str
    start: datetime
    end: datetime
    aggregate: Decimal
    consumed: int
    provisional: bool
    revision: int
    term_to_date: MeterTotal | None
    as_of: datetime | None = None


def usage_items(
    request: UsageRequest, catalogue: Mapping[str, ProductState], rows: Iterable[MeasuredWindow]
) -> list[UsageItem]:
    """List the items in order of time and product, meters as in the catalogue.

    ``rows`` begin at ``request.rows_from`` and are in order of time.
    """
    by_product: dict[str, list[MeasuredWindow]] = {}
    for row in rows:
        by_product.setdefault(row.product, []).append(row)
    used = {str(one.product): one for one in request.subscription.products if request.product in {None, one.product}}
    items: list[UsageItem] = []
    for product in by_product.keys() | used.keys():
        known = catalogue.get(product)
        windows = _windows(request, used.get(product), by_product.get(product, ()))
        found = list(_of_product(request, product, known.meters if known else (), windows))
        items += _measured(found) if request.measured_only else found
    return sorted(items, key=lambda item: (item.start, item.product))


def _measured(items: Sequence[UsageItem]) -> list[UsageItem]:
    """Return the items from the first measured one to the last."""
    starts = [item.start for item in items if item.revision]
    return [item for item in items if starts and min(starts) <= item.start <= max(starts)]


def _windows(
    request: UsageRequest, used: SubscribedProduct | None, rows: Iterable[MeasuredWindow]
) -> dict[Window, MeasuredWindow | None]:
    """Return the windows to show, in order of time.

    These have a row, or the product was subscribed to in them.
    """
    found: dict[Window, MeasuredWindow | None] = {Window(one.window_start, one.window_end): one for one in rows}
    starts = {window.start for window in found}
    for start, end in spans_of_use(request, used) if used else ():
        window = request.subscription.calendar.window_at(start)
        while window.start < end:
            if window.start not in starts:
                found.setdefault(window, None)
            window = request.subscription.calendar.window_at(window.end)
    return {window: found[window] for window in sorted(found, key=lambda one: one.start)}


def spans_of_use(request: RequestedTime, used: SubscribedProduct) -> Iterator[tuple[datetime, datetime]]:
    """Yield when the product was subscribed, within requested time, terms and past."""
    terms = request.subscription.all_terms
    over = min(request.end, request.now, terms[-1].end, request.subscription.cancelled_at or request.end)
    for start, end in [
        *((one.start, one.end) for one in used.earlier),
        (used.subscribed_at, used.ended_at or request.end),
    ]:
        yield max(start, request.start, terms[0].start), min(end, over)


def _of_product(
    request: UsageRequest, product: str, known: Sequence[Meter], windows: Mapping[Window, MeasuredWindow | None]
) -> Iterator[UsageItem]:
    totals: dict[str, MeterTotal] = {}
    term: datetime | None = None
    resets: dict[str, str] = {one.meter: one.reset for one in known}
    for window, row in windows.items():
        if (begins := request.subscription.term_at(window.start).start) != term:
            term, totals = begins, {}
        measured = {str(one.meter): one for one in (row.meters if row else ())}
        resets |= {one.meter: one.reset for one in measured.values()}
        for meter, reset in resets.items():
            added, total = _added(measured.get(meter), totals.get(meter, MeterTotal()))
            totals[meter] = total
            if request.overlaps(window):
                yield UsageItem(
                    product=product,
                    meter=meter,
                    start=window.start,
                    end=window.end,
                    aggregate=added.aggregate,
                    consumed=added.consumed,
                    provisional=window.is_provisional(request.now),
                    revision=row.revision if row else 0,
                    term_to_date=total if reset == "term" else None,
                )


def _added(one: MeterConsumption | None, before: MeterTotal) -> tuple[MeterTotal, MeterTotal]:
    """Return what a window added, and the running total after it."""
    if one is None:
        return MeterTotal(), before
    total = MeterTotal(one.aggregate, one.consumed)
    if one.reset == "window":
        return total, before
    if one.window_aggregate is not None and one.window_consumed is not None:
        return MeterTotal(one.window_aggregate, one.window_consumed), total
    return MeterTotal(
        max(total.aggregate - before.aggregate, Decimal(0)), max(total.consumed - before.consumed, 0)
    ), total
