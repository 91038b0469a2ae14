"""The overview of a subscription, with all figures."""

from datetime import datetime

from pydantic import ConfigDict, Field

from services.reporting.api.answers.shapes import Span, WriteAnswer
from services.reporting.api.examples import OVERVIEW
from services.reporting.api.fields import AnswerBody
from services.reporting.domain import overview as domain
from services.reporting.domain.quantity import quantity
from services.reporting.domain.utilisation_classes import UtilisationClass
from shared.events.state import Aggregation, Lifecycle, OveragePolicy, Reset, SubscriptionModel
from shared.pricing import ProductCost


class RebalanceClock(AnswerBody):
    """``next_allowed_at`` null: the clock allows a rebalance now."""

    allowed: bool
    next_allowed_at: datetime | None
    every_days: int
    last_at: datetime | None


class Meter(AnswerBody):
    meter: str
    aggregation: Aggregation
    reset: Reset
    aggregate: int | str
    units: int
    block: int
    rate_version: int
    consumed: int
    peak_at: datetime | None
    provisional: bool


class Cost(AnswerBody):
    """The product's share of what was paid for the units that count now.

    Amounts are in integer minor units of ``currency``.
    """

    currency: str
    allocated_minor: int
    consumed_minor: int


class ProductUse(AnswerBody):
    """``drawn``: unallocated units that it uses (policy ``reserve``).

    ``cost`` is null without a price.
    """

    product: str
    name: str
    allocated: int
    consumed: int
    unused: int
    utilisation: float | None
    klass: UtilisationClass | None = Field(alias="class")
    policy: OveragePolicy
    restricted: bool
    floor: int
    meters: list[Meter]
    drawn: int
    cost: Cost | None


class Renewal(AnswerBody):
    """A term that was sold and has not begun.

    ``carries_over``: its units suffice for today's allocations.
    """

    start: datetime
    end: datetime
    units: int
    carries_over: bool


class Overview(WriteAnswer):
    """A subscription. Its ``version`` is the ETag, for ``If-Match`` on plans."""

    model_config = ConfigDict(json_schema_extra={"examples": [OVERVIEW]})
    id: str
    account: str
    name: str
    model: SubscriptionModel
    state: Lifecycle
    unit_label: str
    version: int
    term: Span
    window: Span
    purchased: int
    allocated: int
    consumed: int
    unallocated: int
    unused: int
    over_allocated: int
    as_of: datetime | None
    rebalance: RebalanceClock
    products: list[ProductUse]
    drawn: int
    rates_locked_at: datetime | None
    renewal: Renewal | None


def overview_answer(overview: domain.Overview) -> Overview:
    """Convert an overview to the API's answer."""
    renewal = overview.renewal
    return Overview(
        id=overview.id,
        account=overview.account,
        name=overview.name,
        model=overview.model,
        state=overview.state,
        unit_label=overview.unit_label,
        version=overview.version,
        term=_span(overview.term),
        window=_span(overview.window),
        purchased=overview.purchased,
        allocated=overview.allocated,
        consumed=overview.consumed,
        unallocated=overview.unallocated,
        unused=overview.unused,
        over_allocated=overview.over_allocated,
        as_of=overview.as_of,
        rebalance=_clock(overview.rebalance),
        products=[_product(one) for one in overview.products],
        drawn=overview.drawn,
        rates_locked_at=overview.rates_locked_at,
        renewal=renewal and _renewal(renewal),
    )


def _span(period: domain.Period) -> Span:
    return Span(start=period.start, end=period.end, days_left=period.days_left)


def _clock(clock: domain.RebalanceClock) -> RebalanceClock:
    return RebalanceClock(
        allowed=clock.allowed,
        next_allowed_at=clock.next_allowed_at,
        every_days=clock.every_days,
        last_at=clock.last_at,
    )


def _renewal(renewal: domain.Renewal) -> Renewal:
    return Renewal(start=renewal.start, end=renewal.end, units=renewal.units, carries_over=renewal.carries_over)


def _product(product: domain.ProductOverview) -> ProductUse:
    return ProductUse(
        product=product.product,
        name=product.name,
        allocated=product.allocated,
        consumed=product.consumed,
        unused=product.unused,
        utilisation=product.utilisation,
        klass=product.utilisation_class,
        policy=product.policy,
        restricted=product.restricted,
        floor=product.floor,
        meters=[_meter(one) for one in product.meters],
        drawn=product.drawn,
        cost=product.cost and _cost(product.cost),
    )


def _cost(cost: ProductCost) -> Cost:
    return Cost(currency=cost.currency, allocated_minor=cost.allocated_minor, consumed_minor=cost.consumed_minor)


def _meter(meter: domain.MeterArithmetic) -> Meter:
    return Meter(
        meter=meter.meter,
        aggregation=meter.aggregation,
        reset=meter.reset,
        aggregate=quantity(meter.aggregate),
        units=meter.units,
        block=meter.block,
        rate_version=meter.rate_version,
        consumed=meter.consumed,
        peak_at=meter.peak_at,
        provisional=meter.provisional,
    )
