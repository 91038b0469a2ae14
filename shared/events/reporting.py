"""Events of reporting: forecasts. Topic ``reporting.events``."""

from typing import Literal

from pydantic import Field

from shared.events.envelope import Frozen, Instant, Payload
from shared.events.ids import ProductRef, SubscriptionRef
from shared.events.state import Version
from shared.units import Units

ForecastBasis = Literal["with_range", "without_range", "too_early", "used_up", "not_allocated", "not_forecast"]
"""What a run-out is known from. Only the first two are forecasts."""


class RunOutForecast(Frozen):
    """When the pool, or a product (``product``), is expected to use up its units.

    ``limit`` is what is purchased or allocated, ``consumed`` what is consumed of it. ``run_out_at`` is that of the
    median, ``earliest`` and ``latest`` those of the edges of a range that holds 80 of 100 cases. They may lie after the
    term's end: the forecast goes on as if the term did. ``None``: not before ``reaches``, the end of the forecast; or
    there is no forecast (``basis``).
    """

    scope: Literal["pool", "product"]
    product: ProductRef | None = None
    basis: ForecastBasis
    consumed: Units
    limit: Units
    run_out_at: Instant | None = None
    earliest: Instant | None = None
    latest: Instant | None = None
    reaches: Instant | None = None


class ForecastMade(Payload):
    """The forecast of a subscription, made once a day: state, not a change.

    ``version`` grows with each forecast of the subscription; a reader ignores what is not newer. It was made from the
    state with ``subscription_version``. ``has_proposal``: whether a rebalance is proposed.
    """

    event_type = "unitpool.reporting.forecast.made.v1"
    subscription: SubscriptionRef
    version: Version
    subscription_version: Version
    made_at: Instant
    term_end: Instant
    run_outs: tuple[RunOutForecast, ...] = Field(min_length=1)
    has_proposal: bool


REPORTING_EVENTS: tuple[type[Payload], ...] = (ForecastMade,)
