"""What was known of a subscription at an instant that has passed."""

from datetime import datetime

from services.reporting.domain.current_term import current_window
from services.reporting.domain.statements import AsOfError, StatementSource, rows_from
from services.reporting.store.consumption_revisions import load_revisions_at
from services.reporting.store.state_versions import find_first_recorded, load_products_at, load_subscriptions_at
from services.reporting.store.subscription_batches import Span
from shared.events.envelope import rfc3339
from shared.runtime.postgres.pool import Connection


async def load_statement_source(connection: Connection, subscription: str, at: datetime) -> StatementSource:
    """Load what was known, in a consistent read.

    Raises:
        AsOfError: nothing was recorded of the subscription by then.
    """
    recorded = (await load_subscriptions_at(connection, [subscription], at)).get(subscription)
    if recorded is None:
        first = await find_first_recorded(connection, subscription)
        since = "is not recorded" if first is None else f"is known from {rfc3339(first)} on"
        raise AsOfError(f"is too early: this subscription's past {since}")
    state = recorded.state
    span = Span(subscription, rows_from(state, at), current_window(state, at).start)
    rows = (await load_revisions_at(connection, [span], at)).get(subscription, [])
    used = {str(one.product) for one in state.products} | {row.product for row in rows}
    return StatementSource(recorded, await load_products_at(connection, used, at), rows, at)
