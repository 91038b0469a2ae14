"""Usage by window.

The tests cover what each window added, windows without usage, and totals of the term.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from services.reporting.domain.usage import UsageItem, UsageRequest, usage_items
from shared.events.metering import MeterConsumption
from shared.events.state import ProductState, Span, SubscribedProduct, SubscriptionState, Term
from tests.support.builders.published import CALENDAR, NOW, START, product, subscription

WINDOWS = [CALENDAR.window_at(START + timedelta(days=15 * place)) for place in range(5)]
END = START + timedelta(days=365)


@dataclass(frozen=True)
class Row:
    """A row of the read model."""

    window_start: datetime
    window_end: datetime
    meters: tuple[MeterConsumption, ...]
    product: str = "scan"
    revision: int = 3


def row(place: int, total: int, added: int | None = None, *, aggregate: str | None = None, reset: str = "term") -> Row:
    """Build a window with its running total; ``added``: present in new snapshots only."""
    values: dict[str, Any] = {"meter": "host", "aggregation": "sum", "reset": reset, "rate_version": 1}
    values |= {"aggregate": aggregate or str(total), "units": 1, "block": 1, "consumed": total}
    if added is not None:
        values |= {"window_aggregate": str(added), "window_consumed": added}
    return Row(WINDOWS[place].start, WINDOWS[place].end, (MeterConsumption.model_validate(values),))


def shown(
    rows: Sequence[Row], state: SubscriptionState | None = None, reset: str = "term", **more: Any
) -> list[UsageItem]:
    """Compute the items."""
    known: dict[str, ProductState] = {"scan": product(reset=reset, aggregation="sum").product}
    times = {"start": START, "end": NOW, "now": NOW, **more}
    return usage_items(UsageRequest(state or subscription(), **times), known, rows)


def added(items: list[UsageItem]) -> list[tuple[int, int, int | None]]:
    """Return, per item, its window, what it added, and its total."""
    places = {window.start: place for place, window in enumerate(WINDOWS)}
    return [(places[one.start], one.consumed, one.term_to_date.consumed if one.term_to_date else None) for one in items]


def test_window_of_a_burn_down_shows_what_it_added_or_0() -> None:
    items = shown([row(0, 10, 10), row(2, 25, 15)])
    assert added(items) == [(0, 10, 10), (1, 0, 10), (2, 15, 25), (3, 0, 25)]
    assert sum(one.consumed for one in items) == (total.consumed if (total := items[-1].term_to_date) else None)
    assert [(one.revision, one.provisional) for one in items] == [(3, False), (0, False), (3, False), (0, True)]
    assert items[1].aggregate == 0


def test_added_usage_is_the_difference_of_totals_for_old_snapshots() -> None:
    assert added(shown([row(0, 10), row(2, 25), row(3, 26, 1)])) == [(0, 10, 10), (1, 0, 10), (2, 15, 25), (3, 1, 26)]
    assert shown([row(0, 1, aggregate="0.5"), row(1, 1, aggregate="0.75")])[1].aggregate == Decimal("0.25")


def test_earlier_totals_count_but_are_not_shown() -> None:
    rows = [row(0, 10), row(1, 30), row(2, 35)]
    assert added(shown(rows, start=WINDOWS[2].start)) == [(2, 5, 35), (3, 0, 35)]
    asked = UsageRequest(subscription(), WINDOWS[2].start, NOW, NOW)
    assert asked.rows_from == START


def test_requested_time_excludes_both_adjacent_windows() -> None:
    start, end = WINDOWS[1].start, WINDOWS[2].start
    assert added(shown([], start=start, end=end)) == [(1, 0, 0)]
    second = timedelta(seconds=1)
    assert added(shown([], start=start - second, end=end + second)) == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]


def test_term_to_date_is_absent_when_a_meter_resets_per_window() -> None:
    items = shown([row(1, 7, reset="window")], reset="window")
    assert added(items) == [(0, 0, None), (1, 7, None), (2, 0, None), (3, 0, None)]


def test_term_to_date_begins_at_0_in_a_new_term() -> None:
    renewed = START + timedelta(days=30)
    terms = (Term(start=START, end=renewed), Term(start=renewed, end=END))
    state = subscription(terms=terms, term=terms[1])
    assert added(shown([row(1, 40, 40), row(3, 2)], state)) == [(0, 0, 0), (1, 40, 40), (2, 0, 0), (3, 2, 2)]


def test_windows_without_usage_are_shown_only_while_the_product_was_subscribed() -> None:
    span = Span(start=START, end=WINDOWS[0].end - timedelta(hours=1))
    used = SubscribedProduct(product="scan", allocated=0, subscribed_at=WINDOWS[2].start, earlier=(span,))
    assert added(shown([], subscription(products=[used]))) == [(0, 0, 0), (2, 0, 0), (3, 0, 0)]
    ended = used.model_copy(update={"ended_at": WINDOWS[3].start})
    assert added(shown([], subscription(products=[ended]))) == [(0, 0, 0), (2, 0, 0)]
    assert added(shown([row(1, 4, 4)], subscription(products=[ended]))) == [(0, 0, 0), (1, 4, 4), (2, 0, 4)]


def test_windows_after_the_end_and_in_the_future_are_not_shown() -> None:
    assert added(shown([], end=NOW + timedelta(days=300))) == [(place, 0, 0) for place in range(4)]
    assert added(shown([], subscription(cancelled_at=WINDOWS[1].end))) == [(0, 0, 0), (1, 0, 0)]
    short = Term(start=START, end=WINDOWS[1].start)
    assert added(shown([], subscription(term=short))) == [(0, 0, 0)]


def test_windows_are_from_the_first_measured_to_the_last_without_a_requested_time() -> None:
    assert added(shown([row(0, 3, 3), row(2, 4, 1)], measured_only=True)) == [(0, 3, 3), (1, 0, 3), (2, 1, 4)]
    assert added(shown([row(1, 3, 3)], measured_only=True)) == [(1, 3, 3)]
    assert shown([], measured_only=True) == []


def test_measurements_are_shown_when_the_product_is_unknown() -> None:
    gone = Row(WINDOWS[1].start, WINDOWS[1].end, row(1, 5, 5).meters, product="gone")
    assert [(one.product, one.consumed) for one in shown([gone]) if one.product == "gone"] == [("gone", 5)]
