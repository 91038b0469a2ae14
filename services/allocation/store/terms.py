"""Terms of subscriptions."""

from typing import Any

from shared.events.ids import SubscriptionId
from shared.events.state import Term
from shared.runtime.postgres.pool import Connection

_UPSERT = """
INSERT INTO terms (subscription, starts_at, ends_at, rates_locked_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (subscription, starts_at) DO UPDATE SET rates_locked_at = EXCLUDED.rates_locked_at
"""


async def upsert_term(connection: Connection, subscription: SubscriptionId, term: Term) -> None:
    """Insert a term, or save whether its rates are locked.

    This transaction has locked its subscription.
    """
    await connection.execute(_UPSERT, subscription, term.start, term.end, term.rates_locked_at)


def term_of(row: tuple[Any, ...]) -> Term:
    """Decode a term, as ``subscription_sql`` selects it."""
    start, end, rates_locked_at = row
    return Term(start=start, end=end, rates_locked_at=rates_locked_at)
