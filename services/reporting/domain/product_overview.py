"""The arithmetic of one product: from its snapshots to its part of the overview.

- ``consumed``: the level of the current window (0 while it has no snapshot) and the term to date of the meters that
  burn down, which the newest snapshot of the term carries on.
- ``floor``: the larger level of the current and the last closed window, and the term to date.
- ``unused`` is negative where more is consumed than allocated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Self

from services.reporting.domain.current_term import CurrentTerm, WindowFigures
from services.reporting.domain.overview import MeterArithmetic, ProductOverview
from services.reporting.domain.utilisation_classes import ClosedWindow, utilisation_class
from shared import consumption
from shared.events.metering import MeterConsumption
from shared.events.state import Meter, ProductState, Rate, SubscribedProduct
from shared.pricing import ProductCost
from shared.units import percent_tenths


@dataclass(frozen=True, slots=True)
class ProductConsumption:
    """A product's consumption now.

    ``newest``: its last snapshot of the term; ``here``: the current window's.
    """

    windows: Sequence[WindowFigures]
    by_start: Mapping[datetime, WindowFigures]
    newest: WindowFigures | None
    here: WindowFigures | None
    consumed: int
    floor: int

    @classmethod
    def of(cls, windows: Sequence[WindowFigures], current: CurrentTerm) -> Self:
        """Compute from ``windows``, in order of time.

        The current window is last, if it has a snapshot.
        """
        newest = windows[-1] if windows and windows[-1].window_start >= current.term.start else None
        by_start = {one.window_start: one for one in windows}
        here = by_start.get(current.window.start)
        before = by_start.get(current.closed[0].start)
        level, last_level = here.level if here else 0, before.level if before else 0
        burned = newest.burned_down if newest else 0
        return cls(
            windows,
            by_start,
            newest,
            here,
            consumption.consumed(level, burned),
            consumption.floor(level, last_level, burned),
        )


def product_overview(
    product: SubscribedProduct,
    known: ProductState | None,
    measured: ProductConsumption,
    current: CurrentTerm,
    *,
    drawn: int,
    cost: ProductCost | None,
) -> ProductOverview:
    """Compute one product's part.

    ``known``: its catalogue entry; ``drawn``, ``cost``: its share of the pool's.
    """
    meters, here = known.meters if known else (), measured.here
    burned_before = current.window.burned_before(measured.windows)
    tenths = percent_tenths(measured.consumed, product.allocated)
    return ProductOverview(
        product=product.product,
        name=known.name if known else product.product,
        allocated=product.allocated,
        consumed=measured.consumed,
        unused=product.allocated - measured.consumed,
        utilisation=None if tenths is None else tenths / 10,
        utilisation_class=utilisation_class(
            product.allocated,
            measured.consumed,
            _closed(product, measured, current),
            burns_down=any(meter.reset == "term" for meter in meters),
            used_now=here is not None and (here.level > 0 or here.burned_down > burned_before),
        ),
        policy=product.policy,
        restricted=product.restricted,
        floor=measured.floor,
        meters=tuple(_meters(meters, measured, current)),
        drawn=drawn,
        cost=cost,
    )


def _closed(product: SubscribedProduct, measured: ProductConsumption, current: CurrentTerm) -> list[ClosedWindow]:
    """Return a product's last closed windows, newest first.

    At most three, and only since the product was subscribed to.
    """
    closed: list[ClosedWindow] = []
    for window in current.closed:
        if window.start < product.subscribed_at:
            break
        burned_before = window.burned_before(measured.windows)
        one = measured.by_start.get(window.start)
        if one is None:
            closed.append(ClosedWindow(consumed=burned_before, used=False))
        else:
            used = one.level > 0 or one.burned_down > burned_before
            closed.append(ClosedWindow(consumed=consumption.consumed(one.level, one.burned_down), used=used))
    return closed


def _meters(meters: Sequence[Meter], measured: ProductConsumption, current: CurrentTerm) -> list[MeterArithmetic]:
    """Return each meter's arithmetic; unmeasured meters at the rate in force."""
    newest = measured.newest
    is_current = measured.here is newest
    of_newest = {one.meter: one for one in newest.meters} if newest else {}
    shown = []
    for meter in meters:
        one = of_newest.pop(meter.meter, None)
        if one is not None and (is_current or one.reset == "term"):
            shown.append(_measured(one))
        else:
            shown.append(_unmeasured(meter, current.subscription.rate_of(meter, current.window.start)))
    return shown + ([_measured(one) for one in of_newest.values()] if is_current else [])


def _measured(one: MeterConsumption) -> MeterArithmetic:
    return MeterArithmetic(
        meter=one.meter,
        aggregation=one.aggregation,
        reset=one.reset,
        aggregate=one.aggregate,
        units=one.units,
        block=one.block,
        rate_version=one.rate_version,
        consumed=one.consumed,
        peak_at=one.peak_at,
        provisional=True,
    )


def _unmeasured(meter: Meter, rate: Rate) -> MeterArithmetic:
    return MeterArithmetic(
        meter=meter.meter,
        aggregation=meter.aggregation,
        reset=meter.reset,
        aggregate=Decimal(0),
        units=rate.units,
        block=rate.block,
        rate_version=rate.version,
        consumed=0,
        peak_at=None,
        provisional=True,
    )
