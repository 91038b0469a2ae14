"""Terms of subscriptions."""

from shared.events.ids import SubscriptionId
from shared.events.state import Term
from shared.runtime.postgres import Connection

_UPSERT = """
INSERT INTO terms (subscription, starts_at, ends_at, rates_locked_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (subscription, starts_at) DO UPDATE SET rates_locked_at = EXCLUDED.rates_locked_at
"""
_LOAD = "SELECT starts_at, ends_at, rates_locked_at FROM terms WHERE subscription = $1 ORDER BY starts_at"


async def upsert_term(connection: Connection, subscription: SubscriptionId, term: Term) -> None:
    """Keep a term of a subscription that this transaction has locked, or whether its rates are locked."""
    await connection.execute(_UPSERT, subscription, term.start, term.end, term.rates_locked_at)


async def load_terms(connection: Connection, subscription: SubscriptionId) -> tuple[Term, ...]:
    """All terms, in order."""
    return tuple(
        Term(start=row["starts_at"], end=row["ends_at"], rates_locked_at=row["rates_locked_at"])
        for row in await connection.fetch(_LOAD, subscription)
    )
