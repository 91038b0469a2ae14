"""Events of metering: consumption snapshots, ingest keys and restatements.

Snapshots are on ``metering.consumption``, usage by day and hour on ``metering.usage``. The others are on
``metering.events``, with the events of ``shared.events.quarantine``.
"""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from shared.events.envelope import Day, Frozen, Instant, Payload
from shared.events.ids import MeterRef, ProductRef, SubscriptionRef
from shared.events.outcomes import MeteringCommandDecided
from shared.events.quarantine import BooksChanged, QuarantineReplayChanged, UsageQuarantined, UsageSettled
from shared.events.state import Aggregation, Reset
from shared.units import PositiveUnits, Units

Revision = Annotated[int, Field(ge=1)]


class MeterConsumption(Frozen):
    """One meter's part of the consumption, with its arithmetic.

    Its units are ``consumed = ceil(aggregate x units / block)``.
    ``aggregate`` is of the window for ``reset`` ``window``, of the term until the window's end for ``term``.
    ``peak_at`` is when the peak was, for ``peak`` meters with usage. Of a ``term`` meter, ``window_aggregate`` is what
    this window added, and ``window_consumed`` its units: the difference of the running totals, so that windows add up.
    """

    meter: MeterRef
    aggregation: Aggregation
    reset: Reset
    aggregate: Annotated[Decimal, Field(ge=0)]
    units: PositiveUnits
    block: PositiveUnits
    rate_version: int = Field(ge=1)
    consumed: Units
    peak_at: Instant | None = None
    window_aggregate: Annotated[Decimal, Field(ge=0)] | None = None
    window_consumed: Units | None = None


class ConsumptionSnapshot(Payload):
    """What one product consumed in one window: state, not a change.

    ``revision`` only grows per (subscription, product, window); a reader ignores what is not newer. ``as_of`` is the
    broker's append time up to which usage is counted in.
    """

    event_type = "unitpool.metering.consumption.measured.v1"
    subscription: SubscriptionRef
    product: ProductRef
    window_start: Instant
    window_end: Instant
    revision: Revision
    consumed: Units
    meters: tuple[MeterConsumption, ...] = Field(min_length=1)
    as_of: Instant

    @property
    def key(self) -> str:
        """The Kafka key: one state per subscription, product and window."""
        return f"{self.subscription}|{self.product}|{self.window_start:%Y-%m-%dT%H:%M:%SZ}"

    @property
    def level(self) -> int:
        """Units of the meters that reset in every window."""
        return sum(meter.consumed for meter in self.meters if meter.reset == "window")

    @property
    def burned_down(self) -> int:
        """Units of the meters that add up over the term."""
        return sum(meter.consumed for meter in self.meters if meter.reset == "term")


class UsageHour(Frozen):
    """What one meter measured in one hour of a UTC day.

    ``hour``: 0 to 23. ``returning``, of a ``unique`` meter: how many of its resources were last seen how many hours
    before, at most 24, as (hours, resources); ``shared.resource_hours`` counts distinct resources of longer spans from
    it.
    """

    hour: int = Field(ge=0, le=23)
    aggregate: Annotated[Decimal, Field(ge=0)]
    returning: tuple[tuple[Annotated[int, Field(ge=1, le=24)], Annotated[int, Field(ge=1)]], ...] = ()


class DailyUsageMeasured(Payload):
    """What one meter measured in one UTC day and its hours: state, not a change.

    ``aggregate`` is the day's own figure, so days of levels and resources do not add up to a window. ``hours``: those
    with usage, in order. ``revision`` only grows per (subscription, product, meter, day); a reader ignores what is not
    newer. ``as_of``: what was applied by then is counted in.
    """

    event_type = "unitpool.metering.daily-usage.measured.v1"
    subscription: SubscriptionRef
    product: ProductRef
    meter: MeterRef
    day: Day
    aggregation: Aggregation
    aggregate: Annotated[Decimal, Field(ge=0)]
    hours: tuple[UsageHour, ...] = ()
    revision: Revision
    as_of: Instant

    @property
    def key(self) -> str:
        """The Kafka key: one state per subscription, product, meter and day."""
        return f"{self.subscription}|{self.product}|{self.meter}|{self.day}"


class IngestKeyState(Frozen):
    """An ingest key as administrators may see it: never the key itself.

    Absent limits are those of the ingest API. ``replaces`` and ``replaced_by`` are the keys of a rotation.
    """

    id: str
    product: ProductRef
    created_at: Instant
    created_by: str
    expires_at: Instant | None = None
    revoked_at: Instant | None = None
    events_per_second: int | None = None
    max_body_bytes: int | None = None
    replaces: str | None = None
    replaced_by: str | None = None
    version: int = Field(ge=1)


class IngestKeyChanged(Payload):
    event_type = "unitpool.metering.ingest-key.changed.v1"
    ingest_key: IngestKeyState


RestatementCause = Literal["late_usage", "reversal", "purge", "several"]
"""Why a final window has changed."""


class WindowFigures(Frozen):
    """The figures of a window in the snapshot of one revision, with their arithmetic."""

    revision: Revision
    consumed: Units
    meters: tuple[MeterConsumption, ...] = Field(min_length=1)


class WindowRestated(Payload):
    """A final window (one that ended at least three days ago) has changed.

    ``before`` is absent if it had no figures. The snapshot of the new revision has the new state; this event adds the
    reason, and holds both values.
    """

    event_type = "unitpool.metering.window.restated.v1"
    subscription: SubscriptionRef
    product: ProductRef
    window_start: Instant
    window_end: Instant
    before: WindowFigures | None = None
    after: WindowFigures
    cause: RestatementCause
    restated_at: Instant


CONSUMPTION: tuple[type[Payload], ...] = (ConsumptionSnapshot,)
DAILY_USAGE: tuple[type[Payload], ...] = (DailyUsageMeasured,)
METERING_EVENTS: tuple[type[Payload], ...] = (
    IngestKeyChanged,
    WindowRestated,
    UsageQuarantined,
    UsageSettled,
    QuarantineReplayChanged,
    BooksChanged,
    MeteringCommandDecided,
)


def event_key(product: str, subscription: str | None = None) -> str:
    """Return the Kafka key on ``metering.events`` for a product.

    With ``subscription``, the key is for that subscription's use of the product.

    The subscription comes first, so that readers can count failures by customer from the key.
    """
    return f"{subscription}|{product}" if subscription else product
