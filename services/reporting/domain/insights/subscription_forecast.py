"""The forecast of a subscription, as it is stored."""

from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.insights.accuracy import Accuracy
from services.reporting.domain.insights.facts import Facts
from services.reporting.domain.insights.forecasts import InputWindow, ScopeForecast


@dataclass(frozen=True, slots=True)
class SubscriptionForecast:
    """The forecast of a subscription, with what it was made of.

    ``version`` grows by one with each forecast of the subscription. ``window_start``: of the window that was open.
    ``accuracies``: how good the earlier ones were, by scope.
    """

    subscription: str
    version: int
    subscription_version: int
    made_at: datetime
    method: int
    window_start: datetime
    term_start: datetime
    inputs: tuple[InputWindow, ...]
    scopes: tuple[ScopeForecast, ...]
    accuracies: tuple[Accuracy, ...]


def holds(forecast: SubscriptionForecast, facts: Facts) -> bool:
    """Whether a stored forecast is to be shown, instead of one that is made now.

    It is of the present term, was not too early for everything, and was made of all windows that had closed by then:
    those of a subscription that is new here may arrive later.
    """
    if forecast.term_start != facts.subscription.term_at(facts.now).start:
        return False
    had = {(one.product, one.start) for one in forecast.inputs}
    closed = [row for row in facts.rows if row.end <= forecast.made_at]
    used = {one.product for one in facts.subscription.active_products}
    is_whole = all((row.product, row.start) in had for row in closed if row.product in used)
    return is_whole and any(one.basis != "too_early" for one in forecast.scopes)
