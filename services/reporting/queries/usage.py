"""The rows from which usage by window is computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.usage import UsageItem, UsageRequest, usage_items
from services.reporting.store import consumption, products
from services.reporting.store.consumption import ConsumptionRow
from shared.events.state import ProductState
from shared.runtime.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class UsageSource:
    """The rows of usage by window."""

    request: UsageRequest
    catalogue: Mapping[str, ProductState]
    rows: Sequence[ConsumptionRow]

    @property
    def as_of(self) -> datetime | None:
        """Until when usage is counted in; ``None`` without any."""
        return max((one.as_of for one in self.rows), default=None)

    def items(self) -> list[UsageItem]:
        """Compute what each window added."""
        return usage_items(self.request, self.catalogue, self.rows)


async def load_usage_source(connection: Connection, request: UsageRequest) -> UsageSource:
    """Load the rows in the consistent read that has read the subscription's state."""
    state = request.subscription
    rows = await consumption.load_usage(connection, state.id, request.rows_from, request.end, request.product)
    names = {one.product for one in state.products} | {row.product for row in rows}
    return UsageSource(request, await products.find_products(connection, names), rows)
