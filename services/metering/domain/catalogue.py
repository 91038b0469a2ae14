"""What metering knows of the catalogue and the subscriptions: an immutable-by-convention view, made from stored state.

Readers hold one ``Catalogue`` for as long as one decision takes. Loading replaces whole entries, never edits them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.metering.domain.subscribed import Subscribed
from shared.events.state import Aggregation, Meter, ProductState

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DAY_US = 86_400_000_000
NEVER_US = 2**62
MANY = 10_000
"""Sources remembered at most: a bound against invented ones."""
SUM, COUNT, PEAK, LATEST, UNIQUE = range(5)
KINDS: dict[Aggregation, int] = {"sum": SUM, "count": COUNT, "peak": PEAK, "latest": LATEST, "unique": UNIQUE}


def microseconds(at: datetime) -> int:
    """Whole microseconds from 1970 to ``at``, exactly."""
    return (at - EPOCH) // MICROSECOND


@dataclass(frozen=True, slots=True)
class MeterView:
    """One meter with its number in this service's tables."""

    number: int
    product: str
    kind: int
    state: Meter

    @property
    def is_term(self) -> bool:
        """Whether it adds up over the term."""
        return self.state.reset == "term"


@dataclass(slots=True)
class ProductView:
    """One product, its meters, and which sources may report for it (remembered per source)."""

    state: ProductState
    meters: dict[str, MeterView]
    retired_us: int | None
    _allowed: dict[str, bool] = field(default_factory=dict)

    @property
    def adds_up(self) -> bool:
        """Whether a change of one window reaches those after it: a meter adds up over the term."""
        return any(meter.is_term for meter in self.meters.values())

    def allows(self, source: str) -> bool:
        """Whether ``source`` may report for this product."""
        known = self._allowed.get(source)
        if known is None:
            known = may_report(source, self.state.id, self.state.sources)
            if len(self._allowed) < MANY:
                self._allowed[source] = known
        return known


@dataclass(frozen=True, slots=True)
class Reporter:
    """A source that may report for a meter: all that an event needs to know of both, found by one look.

    ``source`` and ``product`` are shared by all events. ``retired_us``: until when the product takes usage.
    """

    meter: int
    kind: int
    retired_us: int
    source_number: int
    source: str
    product: str


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    """One subscription with its number in this service's tables, and its windows in microseconds.

    ``anchor_us`` until ``next_us``: the newest term that has begun by ``state``, which holds nearly every event.
    ``products``: until when each may be used.
    """

    number: int
    state: Subscribed
    anchor_us: int
    next_us: int
    window_us: int
    products: Mapping[str, int]

    def window_of(self, at_us: int) -> int:
        """The start of the window that holds ``at_us``."""
        if self.anchor_us <= at_us < self.next_us:
            return at_us - (at_us - self.anchor_us) % self.window_us
        return microseconds(self.state.calendar.window_at(EPOCH + timedelta(microseconds=at_us)).start)


@dataclass(slots=True)
class Catalogue:
    """Everything known, as of ``version`` of the projection."""

    version: int = 0
    subscriptions: dict[str, SubscriptionView] = field(default_factory=dict)
    products: dict[str, ProductView] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    by_number: dict[int, SubscriptionView] = field(default_factory=dict)
    meters: dict[int, MeterView] = field(default_factory=dict)
    reporters: dict[tuple[str, str, str], Reporter] = field(default_factory=dict)
    """By product, meter and source: those that were found, until a product changes."""

    def find_reporter(self, name: str, meter: str, source: str) -> Reporter | None:
        """Look for what ``reporters`` does not have; ``None`` where the source may not report for such a meter."""
        product = self.products.get(name)
        view = product.meters.get(meter) if product else None
        if product is None or view is None or not product.allows(source):
            return None
        number = self.sources.get(source, 0)
        retired_us = NEVER_US if product.retired_us is None else product.retired_us
        found = Reporter(view.number, view.kind, retired_us, number, source, view.product)
        if number and len(self.reporters) < MANY:
            self.reporters[name, meter, source] = found
        return found

    def put_subscription(self, number: int, state: Subscribed) -> None:
        """Take in a newer state of a subscription."""
        later = [term.start for term in state.terms if term.start > state.term.start]
        view = SubscriptionView(
            number,
            state,
            microseconds(state.term.start),
            microseconds(later[0]) if later else NEVER_US,
            state.window_days * DAY_US,
            {one.product: microseconds(one.ended_at) if one.ended_at else NEVER_US for one in state.products},
        )
        self.subscriptions[state.id] = self.by_number[number] = view

    def put_product(self, state: ProductState, numbers: dict[str, int]) -> None:
        """Take in a newer state of a product; ``numbers`` are its meters' by id."""
        meters: dict[str, MeterView] = {
            meter.meter: MeterView(numbers[meter.meter], state.id, KINDS[meter.aggregation], meter)
            for meter in state.meters
        }
        retired = microseconds(state.retired_at) if state.retired_at else None
        self.products[state.id] = ProductView(state, meters, retired)
        self.meters.update({meter.number: meter for meter in meters.values()})
        self.reporters.clear()


def may_report(source: str, product: str, prefixes: tuple[str, ...] = ()) -> bool:
    """Whether ``source`` begins with one of the product's prefixes (by default ``/platforms/<product id>``)."""
    if not source.isprintable():
        return False
    return source.startswith(prefixes or (f"/platforms/{product}",))
