"""A statement: what was known of a subscription at an instant that has passed.

It is computed as the overview of now is, from the state that was the newest then and the revisions that counted then.
It names no person and contains no text of one, so that an erasure changes nothing in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from services.reporting.domain.current_term import WindowFigures, current_window, snapshots_from
from services.reporting.domain.overview import Overview, ProductOverview
from services.reporting.domain.purchases import PurchaseLot, lots_of
from services.reporting.domain.recorded import RecordedProduct, RecordedSubscription, RecordedWindow
from services.reporting.domain.subscription_overview import overview_of
from services.reporting.domain.usage import UsageItem, UsageRequest, usage_items
from shared.events.envelope import rfc3339
from shared.events.state import SubscriptionState

StatementFormat = Literal["json", "pdf"]
PAST: Final = timedelta(days=366)
"""How far back a statement can be requested."""
WINDOWS: Final = 25
"""Most windows that are shown: a year of windows of 15 days."""


class AsOfError(ValueError):
    """No statement can be made of the instant; the message says why, for a person."""


@dataclass(frozen=True, slots=True)
class StatementKey:
    """What a statement is of."""

    subscription: str
    as_of: datetime
    format: StatementFormat


@dataclass(frozen=True, slots=True)
class MadeStatement:
    """A statement as it was made. ``sha256``: of its content, in hexadecimal digits."""

    content: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Figure:
    """The measurement that figures come from.

    ``as_of``: until when usage was counted; ``recorded_at``: when it became known.
    """

    revision: int
    as_of: datetime
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class StatedProduct:
    """A product.

    ``version`` and ``figure`` are ``None`` if nothing was known of its catalogue entry, or usage.
    """

    shown: ProductOverview
    figure: Figure | None
    version: int | None
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True)
class StatedUsage:
    """What one window added to one meter.

    ``figure`` ``None``: no usage was known of the window.
    """

    item: UsageItem
    figure: Figure | None


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as of an instant.

    ``recorded_at``: when the version of the subscription was recorded. ``usage``: of the windows of the term, at most
    ``WINDOWS``, in order of time and product.
    """

    as_of: datetime
    overview: Overview
    recorded_at: datetime
    products: tuple[StatedProduct, ...]
    lots: tuple[PurchaseLot, ...]
    usage: tuple[StatedUsage, ...]


@dataclass(frozen=True, slots=True)
class StatementSource:
    """What was known at ``as_of``.

    ``rows``: of the windows from ``rows_from`` on, in order of product and time.
    """

    subscription: RecordedSubscription
    catalogue: Mapping[str, RecordedProduct]
    rows: Sequence[RecordedWindow]
    as_of: datetime


def check_as_of(as_of: datetime, now: datetime) -> None:
    """Check that statements of an instant can be requested.

    Raises:
        AsOfError: it is in the future, or too long ago.
    """
    if as_of > now:
        raise AsOfError(f"is in the future; it is {rfc3339(now)} now")
    if as_of < now - PAST:
        raise AsOfError(f"is before {rfc3339(now - PAST)}: statements can be made of the last 12 months")


def shown_from(state: SubscriptionState, at: datetime) -> datetime:
    """Return the start of the oldest window that is shown."""
    *_, oldest = _shown_windows(state, at)
    return oldest


def _shown_windows(state: SubscriptionState, at: datetime) -> Iterator[datetime]:
    """Yield the starts of the windows of the term, newest first."""
    calendar, begun = state.calendar, state.term_at(at).start
    window = current_window(state, at)
    for _ in range(WINDOWS):
        yield window.start
        window = calendar.before(window)
        if window.start < begun:
            return


def rows_from(state: SubscriptionState, at: datetime) -> datetime:
    """Return the start of the oldest window whose measurement is needed."""
    return min(snapshots_from(state, current_window(state, at)), _requested(state, at).rows_from)


def _requested(state: SubscriptionState, at: datetime) -> UsageRequest:
    return UsageRequest(state, shown_from(state, at), at, at)


def statement_of(source: StatementSource) -> Statement:
    """Compute the statement."""
    state, at, rows = source.subscription.state, source.as_of, source.rows
    catalogue = {product: one.state for product, one in source.catalogue.items()}
    figures: dict[str, list[WindowFigures]] = {}
    measured: dict[tuple[str, datetime], Figure] = {}
    for row in rows:
        figures.setdefault(row.product, []).append(
            WindowFigures(row.window_start, row.revision, row.level, row.burned_down, row.as_of, tuple(row.meters))
        )
        measured[row.product, row.window_start] = Figure(row.revision, row.as_of, row.recorded_at)
    overview = overview_of(state, catalogue, figures, at)
    request = _requested(state, at)
    in_time = sorted((row for row in rows if row.window_start >= request.rows_from), key=lambda row: row.window_start)
    return Statement(
        as_of=at,
        overview=overview,
        recorded_at=source.subscription.recorded_at,
        products=tuple(_product(one, overview, source, figures, measured) for one in overview.products),
        lots=tuple(lots_of(state, at)),
        usage=tuple(
            StatedUsage(item, measured.get((item.product, item.start)))
            for item in usage_items(request, catalogue, in_time)
        ),
    )


def _product(
    shown: ProductOverview,
    overview: Overview,
    source: StatementSource,
    figures: Mapping[str, Sequence[WindowFigures]],
    measured: Mapping[tuple[str, datetime], Figure],
) -> StatedProduct:
    known = source.catalogue.get(shown.product)
    windows = figures.get(shown.product, ())
    newest = windows[-1].window_start if windows else None
    in_term = newest is not None and newest >= overview.term.start
    return StatedProduct(
        shown=shown,
        figure=measured[shown.product, newest] if newest is not None and in_term else None,
        version=known.state.version if known else None,
        recorded_at=known.recorded_at if known else None,
    )
