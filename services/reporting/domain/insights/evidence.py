"""Over- and under-used products, with the closed windows that show it.

- Under-used: of the class ``under`` or ``idle`` (``utilisation_classes``).
- Over-used: of the class ``over``, or beyond today's allocation in each of the last three closed windows. Without the
  second, a product would drop out of the list for the first days of every window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.reporting.domain.current_term import CurrentTerm, WindowFigures
from services.reporting.domain.overview import ProductOverview
from services.reporting.domain.utilisation_classes import CLOSED_WINDOWS
from shared import consumption
from shared.events.state import SubscribedProduct
from shared.units import percent_tenths

Finding = Literal["over", "under", "idle"]


@dataclass(frozen=True, slots=True)
class ClosedWindowUse:
    """What a product consumed by the end of a closed window.

    ``utilisation``: percent of today's allocation, with one decimal; ``None`` without an allocation.
    """

    start: datetime
    end: datetime
    consumed: int
    utilisation: float | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A product that is over- or under-used, with its last closed windows.

    The newest is first. There are at most three, and only those since it was subscribed to.
    """

    product: str
    name: str
    finding: Finding
    allocated: int
    consumed: int
    windows: tuple[ClosedWindowUse, ...]
    sentence: str


def closed_windows(
    product: SubscribedProduct, windows: Sequence[WindowFigures], current: CurrentTerm
) -> tuple[ClosedWindowUse, ...]:
    """Return a product's last closed windows since it was subscribed to, newest first."""
    by_start = {one.window_start: one for one in windows}
    closed = []
    for window in current.closed:
        if window.start < product.subscribed_at:
            break
        one = by_start.get(window.start)
        burned = one.burned_down if one else window.burned_before(windows)
        used = consumption.consumed(one.level if one else 0, burned)
        tenths = percent_tenths(used, product.allocated)
        closed.append(ClosedWindowUse(window.start, window.end, used, None if tenths is None else tenths / 10))
    return tuple(closed)


def find_evidence(
    products: Sequence[ProductOverview], closed: Mapping[str, tuple[ClosedWindowUse, ...]], unit_label: str
) -> tuple[Evidence, ...]:
    """Find the over- and under-used products. ``closed``: their windows by product."""
    found = []
    for product in products:
        windows = closed[product.product]
        if finding := _finding(product, windows):
            sentence = _sentence(finding, product, windows, unit_label)
            found.append(
                Evidence(product.product, product.name, finding, product.allocated, product.consumed, windows, sentence)
            )
    return tuple(found)


def _finding(product: ProductOverview, windows: Sequence[ClosedWindowUse]) -> Finding | None:
    match product.utilisation_class:
        case "over" | "under" | "idle" as found:
            return found
    is_over = len(windows) == CLOSED_WINDOWS and all(one.consumed > product.allocated for one in windows)
    return "over" if is_over else None


def _sentence(finding: Finding, product: ProductOverview, windows: Sequence[ClosedWindowUse], unit_label: str) -> str:
    """Say what was found, with the figures; closed windows in order of time."""
    units = f"its {product.allocated:,} {unit_label}"
    figures = ", ".join(f"{one.consumed:,}" for one in reversed(windows))
    if finding == "idle":
        return f"{product.name} had no usage in the last {len(windows)} closed windows."
    if finding == "under":
        share = f"{product.name} used less than half of {units}"
        return f"{share} in each of the last {len(windows)} closed windows: {figures}."
    now = f"{product.name} consumes {product.consumed:,} and has {product.allocated:,} {unit_label}"
    return f"{now}; in the last closed windows it consumed {figures}." if windows else f"{now}."
