"""Subscriptions, what they bought and what they use."""

from datetime import datetime

from pydantic import ConfigDict, Field

from services.reporting.api.answers.prices import PriceShown
from services.reporting.api.answers.shapes import Commanded, PersonShown, Span
from services.reporting.api.examples import OVERVIEW
from services.reporting.api.fields import Shown
from services.reporting.domain.classes import UtilisationClass
from shared.events.state import Aggregation, Lifecycle, OveragePolicy, Reset, SubscriptionModel


class RebalanceClock(Shown):
    """``next_allowed_at`` null: now, as far as the clock is concerned."""

    allowed: bool
    next_allowed_at: datetime | None
    every_days: int
    last_at: datetime | None


class Meter(Shown):
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


class Cost(Shown):
    """Its share of what was paid for the units that count now, in integer minor units of ``currency``."""

    currency: str
    allocated_minor: int
    consumed_minor: int


class ProductUse(Shown):
    """``drawn``: unallocated units that it uses (policy ``reserve``). ``cost`` is null where there is no price."""

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


class Renewal(Shown):
    """A term that was sold and has not begun. ``carries_over``: its units are enough for today's allocations."""

    start: datetime
    end: datetime
    units: int
    carries_over: bool


class Overview(Commanded):
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


class SubscriptionInList(Shown):
    id: str
    account: str
    name: str
    model: SubscriptionModel
    state: Lifecycle
    unit_label: str
    version: int
    term: Span
    primary_contact: PersonShown
    purchased: int
    allocated: int
    unallocated: int
    over_allocated: int


class Subscriptions(Shown):
    items: list[SubscriptionInList]
    next_cursor: str | None


class Lot(Shown):
    id: str
    units: int
    start: datetime
    end: datetime
    order_reference: str
    purchased_at: datetime
    voided_at: datetime | None
    void_reason: str | None
    valid: bool
    price: PriceShown | None


class Lots(Shown):
    items: list[Lot]
    next_cursor: str | None = None


class TermToDate(Shown):
    """The running totals of a meter that burns down, until the end of the window."""

    aggregate: int | str
    consumed: int


class UsageItem(Shown):
    """What a window added. ``revision`` is 0 where nothing was measured."""

    product: str
    meter: str
    start: datetime
    end: datetime
    aggregate: int | str
    consumed: int
    provisional: bool
    revision: int
    term_to_date: TermToDate | None


class Usage(Shown):
    items: list[UsageItem]
    next_cursor: str | None = None
