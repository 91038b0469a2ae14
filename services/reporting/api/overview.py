"""The overview of a subscription, the answer to its GET and to all writes on it."""

from services.reporting.api.answers.overview import Overview, overview_answer
from services.reporting.domain.caller import Caller
from services.reporting.queries.subscriptions import SubscriptionQueries


async def read_overview(queries: SubscriptionQueries, caller: Caller, subscription: str) -> Overview:
    """Read the overview, as the API answers it.

    Raises:
        ProblemError: ``not_found``; ``forbidden``.
    """
    return overview_answer(await queries.overview(caller, subscription))
