"""The rows from which an overview is computed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.caller import Caller
from services.reporting.domain.current_term import WindowFigures, current_window, snapshots_from
from services.reporting.domain.overview import Overview
from services.reporting.domain.subscription_overview import overview_of
from services.reporting.queries.access import check_roles, is_id, not_found
from services.reporting.store import consumption
from services.reporting.store import subscriptions as store
from shared.events.state import ProductState, SubscriptionState
from shared.runtime.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class OverviewSource:
    """The rows of an overview, computed after the connection is released.

    ``roles`` are the caller's, strongest first.
    """

    subscription: SubscriptionState
    roles: tuple[str, ...]
    catalogue: Mapping[str, ProductState]
    consumption: Mapping[str, Sequence[WindowFigures]]
    now: datetime

    def overview(self) -> Overview:
        """Compute the overview at ``now``."""
        return overview_of(self.subscription, self.catalogue, self.consumption, self.now)


async def load_overview_source(
    connection: Connection, caller: Caller, subscription: str, now: datetime
) -> OverviewSource:
    """Load the rows of an overview that the caller may see, in a consistent read.

    Raises:
        ProblemError: ``not_found``; ``forbidden``.
    """
    found = await store.find_with_catalogue(connection, subscription, caller.email) if is_id(subscription) else None
    if found is None:
        raise not_found("subscription")
    state, held, catalogue = found
    roles = check_roles(caller, held)
    window = current_window(state, now)
    rows = await consumption.load_term(connection, state.id, snapshots_from(state, window), window.start)
    figures: defaultdict[str, list[WindowFigures]] = defaultdict(list)
    for row in rows:
        figures[row.product].append(
            WindowFigures(row.window_start, row.revision, row.level, row.burned_down, row.as_of, row.meters)
        )
    return OverviewSource(state, roles, catalogue, figures, now)
