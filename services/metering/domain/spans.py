"""Spans in which usage counts.

They lie in a term, before the cancellation, and while the product is used. Nothing else derives them. Spans are
half-open, in microseconds since 1970, ordered and disjoint.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from services.metering.domain.reasons import Reason
from services.metering.domain.subscription import Subscription, Use

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")
MICROSECOND = timedelta(microseconds=1)
NEVER_US = 2**62

Span = tuple[int, int]
"""Start and end; the end is ``NEVER_US`` where none is known."""


def microseconds(at: datetime) -> int:
    """Convert a time to whole microseconds since 1970."""
    return (at - EPOCH) // MICROSECOND


class Spans(NamedTuple):
    """A subscription's spans.

    ``terms`` end at the cancellation at the latest; ``uses`` gives the spans of use per product.
    """

    terms: tuple[Span, ...]
    uses: Mapping[str, tuple[Span, ...]]

    def counted(self, product: str) -> tuple[Span, ...]:
        """The spans in which usage of the product counts: terms intersected with use."""
        return tuple(common(self.terms, self.uses.get(product, ())))

    def gaps(self, product: str, since_us: int) -> list[Span]:
        """The spans from ``since_us`` on in which usage of the product does not count."""
        found, at = [], since_us
        for start, end in self.counted(product):
            if start > at:
                found.append((at, start))
            at = max(at, end)
        return [*found, (at, NEVER_US)] if at < NEVER_US else found

    def reason_at(self, product: str, at_us: int) -> Reason | None:
        """Return why usage of that instant does not count; ``None`` if it counts."""
        if at_us < self.terms[0][0]:
            return "before_start"
        if not _holds(self.terms, at_us):
            return "after_end"
        return None if _holds(self.uses.get(product, ()), at_us) else "product_not_subscribed"

    @property
    def until_us(self) -> int:
        """The end of the last known term, or the cancellation if that is earlier."""
        return self.terms[-1][1]


def spans_of(state: Subscription) -> Spans:
    """Derive the spans from a subscription's state."""
    cancelled_us = NEVER_US if state.cancelled_at is None else microseconds(state.cancelled_at)
    starts = [microseconds(term.start) for term in state.terms]
    ends = [microseconds(term.end) for term in state.terms]
    terms = tuple(
        (min(start, cancelled_us), min(end, following, cancelled_us))
        for start, end, following in zip(starts, ends, [*starts[1:], NEVER_US], strict=True)
    )
    return Spans(terms, {one.product: tuple(_uses(one, starts[0])) for one in state.products})


def _uses(use: Use, start_us: int) -> Iterator[Span]:
    """Yield the spans in which a product is used.

    The first begins with the subscription, so that a product added late loses no earlier usage.
    """
    begun_us = start_us if use.subscribed_at is None else microseconds(use.subscribed_at)
    newest = begun_us, NEVER_US if use.ended_at is None else microseconds(use.ended_at)
    spans = [*((microseconds(one.start), microseconds(one.end)) for one in use.earlier), newest]
    yield min(spans[0][0], start_us), spans[0][1]
    yield from spans[1:]


def common(some: Iterable[Span], others: Sequence[Span]) -> Iterator[Span]:
    """Intersect two lists of spans."""
    for start, end in some:
        for other_start, other_end in others:
            if max(start, other_start) < min(end, other_end):
                yield max(start, other_start), min(end, other_end)


def _holds(spans: Iterable[Span], at_us: int) -> bool:
    return any(start <= at_us < end for start, end in spans)


class Change(NamedTuple):
    """How a newer state changes where usage counts.

    ``since_us``: usage before it is not affected. ``lost``: some usage no longer counts. ``terms``: a term begins at
    another time. ``windows``: because of that, counted usage may belong to another window.
    """

    since_us: int
    lost: bool
    terms: bool
    windows: bool


def change(before: Subscription, after: Subscription) -> Change | None:
    """Compare two states of a subscription.

    ``None`` is returned if no usage that may be applied already is affected. A product that is used for the first time
    is no change: none of its usage has been counted.
    """
    was, now = spans_of(before), spans_of(after)
    lost_us = min((start for product in was.uses for start, _ in _lost(was, now, product)), default=NEVER_US)
    starts = {microseconds(at) for at in before.calendar.starts} ^ {microseconds(at) for at in after.calendar.starts}
    if before.window_days != after.window_days:
        starts.add(was.terms[0][0])
    start_us = min(starts, default=NEVER_US)
    if min(lost_us, start_us) < NEVER_US:
        windows = any(end > start_us for _, end in was.terms)
        return Change(min(lost_us, start_us), lost_us < NEVER_US, start_us < NEVER_US, windows)
    gained_us = min((start for product in was.uses for start, _ in _lost(now, was, product)), default=NEVER_US)
    return Change(gained_us, lost=False, terms=False, windows=False) if gained_us < NEVER_US else None


def _lost(had: Spans, has: Spans, product: str) -> Iterator[Span]:
    """Yield the spans in which usage counted by ``had`` and does not by ``has``.

    It is usage of ``product``.
    """
    counted = had.counted(product)
    return common(counted, has.gaps(product, counted[0][0])) if counted else iter(())
