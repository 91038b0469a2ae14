"""How good earlier forecasts were."""

from datetime import datetime, timedelta

from services.reporting.domain.insights.accuracy import Accuracy, EarlierForecast, accuracies
from services.reporting.domain.insights.forecasts import ScopeForecast
from services.reporting.domain.insights.paths import Point
from tests.support.builders.insights import BEGAN, at_window, facts_of, scopes_of, state_of, windows


def earlier(*points: Point, product: str | None = "scan") -> EarlierForecast:
    """Build a forecast of one scope."""
    return EarlierForecast(BEGAN, (ScopeForecast(product, "with_range", 8, points),))


def test_nothing_is_compared_before_a_window_has_closed() -> None:
    assert accuracies([], {}) == ()
    assert accuracies([earlier(Point(at_window(1), 10))], {("scan", at_window(2)): 5}) == ()
    assert accuracies([earlier(Point(BEGAN, 10))], {("scan", BEGAN): 5}) == (), "not the present when it was made"


def test_errors_and_ranges_are_counted_by_scope() -> None:
    points = Point(at_window(1), 100, 90, 110), Point(at_window(2), 100, 90, 105), Point(at_window(3), 100)
    happened: dict[tuple[str | None, datetime], int] = {
        ("scan", at_window(1)): 110,
        ("scan", at_window(2)): 80,
        ("scan", at_window(3)): 107,
        ("hub", BEGAN): 3,
    }
    assert accuracies([earlier(*points)], happened) == (Accuracy("scan", 3, 12, 12.5, 2, 50.0),)


def test_a_percentage_is_unknown_when_nothing_happened() -> None:
    found = accuracies([earlier(Point(at_window(1), 4), product=None)], {(None, at_window(1)): 0})
    assert found == (Accuracy(None, 1, 4, None, 0, None),)


def test_forecasts_made_window_by_window_are_compared_with_what_then_happened() -> None:
    levels = [400 + 10 * number for number in range(14)]
    state = state_of({"scan": 900}, 900)
    made = []
    for number in range(8, 12):
        now = at_window(number) + timedelta(days=1)
        facts = facts_of(state, windows(levels[: number + 1]), now)
        made.append(EarlierForecast(now, tuple(scopes_of(facts).values())))
    facts = facts_of(state, windows(levels), at_window(13) + timedelta(days=1))
    product, pool = accuracies(made, facts.happened())
    assert (product.product, pool.product) == ("scan", None)
    assert product.compared == 5 + 4 + 3 + 2
    assert (product.mean_error, product.with_range) == (pool.mean_error, pool.with_range)
    assert 0 < product.mean_error < 40
