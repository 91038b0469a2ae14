"""The source of reports that are computed from subscriptions, in the order of ids.

A subscription whose rows cannot be computed is logged and left out, so that it costs only itself.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final, Protocol

from services.reporting.domain.reports.columns import Row
from services.reporting.queries.report_rows import Position, ReportRequest, Step
from services.reporting.queries.report_sources.positions import read_position, write_position
from services.reporting.queries.report_sources.scope import load_scope
from services.reporting.store.subscription_batches import Counts, count_subscriptions, decode_states, load_batch
from shared.events.state import SubscriptionState
from shared.runtime.postgres.pool import Connection
from shared.runtime.postgres.row_decoding import decode_rows

MAX_BATCH: Final = 500
"""Most subscriptions of a step; they are decoded whole."""
Compute = Callable[[SubscriptionState], Iterable[Row]]
"""Computes the rows of a subscription."""


class Prepare(Protocol):
    """Loads what the rows of some subscriptions need."""

    async def __call__(
        self, connection: Connection, request: ReportRequest, states: Collection[SubscriptionState], /
    ) -> Compute:
        """Load it, and return the computation of their rows."""
        ...


class SubscriptionSource:
    """Rows that ``prepare`` computes of each subscription.

    ``estimate``: the number of rows by those of subscriptions, lots and products. ``rows_each``: how many rows a
    subscription has, about.
    """

    def __init__(
        self, request: ReportRequest, prepare: Prepare, estimate: Callable[[Counts], int], *, rows_each: int = 1
    ) -> None:
        self._request = request
        self._prepare = prepare
        self._estimate = estimate
        self._rows_each = rows_each

    async def count(self, connection: Connection) -> int:
        """Estimate the number of rows."""
        return self._estimate(await count_subscriptions(connection, await load_scope(connection, self._request)))

    async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
        """Read the rows of the next subscriptions."""
        (after,) = read_position(position, "")
        scope = await load_scope(connection, self._request)
        size = max(1, min(limit // self._rows_each, MAX_BATCH))
        found = await load_batch(connection, after, size, scope)
        states = decode_states(found)
        compute = await self._prepare(connection, self._request, list(states.values()))
        readable = [row for row in found if row["id"] in states]
        computed = decode_rows(readable, lambda row: list(compute(states[row["id"]])), "subscriptions")
        rows = [row for some in computed for row in some]
        return Step(rows, write_position(found[-1]["id"]) if len(found) == size else None)
