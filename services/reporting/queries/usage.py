"""The rows from which usage by window is computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.reporting.domain.usage import Asked, UsageItem, usage
from services.reporting.store import consumption, products
from services.reporting.store.consumption import Consumed
from shared.events.state import ProductState
from shared.runtime.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class UsageSource:
    """The rows of usage by window."""

    asked: Asked
    catalogue: Mapping[str, ProductState]
    rows: Sequence[Consumed]

    def items(self) -> list[UsageItem]:
        """Compute what each window added."""
        return usage(self.asked, self.catalogue, self.rows)


async def load_usage_source(connection: Connection, asked: Asked) -> UsageSource:
    """Load the rows beside the subscription's state, in the consistent read that has read it."""
    state = asked.subscription
    rows = await consumption.load_usage(connection, state.id, asked.rows_from, asked.end, asked.product)
    names = {one.product for one in state.products} | {row.product for row in rows}
    return UsageSource(asked, await products.find_products(connection, names), rows)
