"""Subscriptions by id, many at once, with what reports need of each.

Rows of all subscriptions and those of some are read by two statements, so that each has one good plan.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from services.reporting.domain.current_term import WindowFigures
from services.reporting.store.consumption import ConsumptionRow
from shared.events.metering import MeterConsumption
from shared.events.state import SubscriptionState
from shared.runtime.postgres.pool import Connection, Row
from shared.runtime.postgres.row_decoding import decode_rows

_METERS = TypeAdapter(tuple[MeterConsumption, ...])

_ALL = "SELECT id, state FROM subscriptions WHERE id > $1 AND ($3::text IS NULL OR account = $3) ORDER BY id LIMIT $2"
_SOME = """
SELECT id, state FROM subscriptions
WHERE id = ANY($4::text[]) AND id > $1 AND ($3::text IS NULL OR account = $3) ORDER BY id LIMIT $2
"""
_COUNT = """
SELECT count(*) AS subscriptions, coalesce(sum(
        CASE jsonb_typeof(state -> 'lots') WHEN 'array' THEN jsonb_array_length(state -> 'lots') END
    ), 0)::bigint AS lots, coalesce(sum(
        CASE jsonb_typeof(state -> 'products') WHEN 'array' THEN jsonb_array_length(state -> 'products') END
    ), 0)::bigint AS products
FROM subscriptions WHERE ($1::text[] IS NULL OR id = ANY($1)) AND ($2::text IS NULL OR account = $2)
"""
_COUNT_WINDOWS = """
SELECT count(*) FROM consumption
WHERE ($1::text[] IS NULL OR subscription = ANY($1)) AND window_end > $2 AND window_start < $3
    AND ($4::text IS NULL OR product = $4)
"""
_FIGURES = """
SELECT c.subscription, c.product, c.window_start, c.revision, c.level, c.burned_down, c.as_of
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS wanted (subscription, start, until)
JOIN consumption AS c ON c.subscription = wanted.subscription
    AND c.window_start >= wanted.start AND c.window_start <= wanted.until
ORDER BY c.subscription, c.product, c.window_start
"""
_USAGE = """
SELECT c.subscription, c.product, c.window_start, c.window_end, c.revision, c.consumed, c.level, c.burned_down,
    c.as_of, c.meters
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS wanted (subscription, start, until)
JOIN consumption AS c ON c.subscription = wanted.subscription
    AND c.window_end > wanted.start AND c.window_start < wanted.until AND ($4::text IS NULL OR c.product = $4)
ORDER BY c.subscription, c.window_start, c.product
"""
_LAST_CHANGES = """
SELECT subscription, max(at) AS at FROM allocation_changes WHERE subscription = ANY($1::text[]) GROUP BY subscription
"""

Figures = dict[str, dict[str, list[WindowFigures]]]
"""By subscription and product, in order of time, without meters."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which subscriptions to read; ``None``: all."""

    subscriptions: Sequence[str] | None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many subscriptions there are, with how many lots and products."""

    subscriptions: int
    lots: int
    products: int


@dataclass(frozen=True, slots=True)
class Span:
    """The windows to read of a subscription."""

    subscription: str
    start: datetime
    until: datetime


async def load_batch(connection: Connection, after: str, limit: int, scope: Scope) -> list[Row]:
    """Load the rows (id, state) of the subscriptions that follow ``after``."""
    if scope.subscriptions is None:
        return await connection.fetch(_ALL, after, limit, scope.account)
    return await connection.fetch(_SOME, after, limit, scope.account, list(scope.subscriptions))


def decode_states(rows: Iterable[Row]) -> dict[str, SubscriptionState]:
    """Decode rows to states by id; unreadable ones are left out."""
    found = decode_rows(rows, lambda row: SubscriptionState.model_validate_json(row["state"]), "subscriptions")
    return {state.id: state for state in found}


async def count_subscriptions(connection: Connection, scope: Scope) -> Counts:
    """Count the subscriptions of a scope."""
    row = await connection.fetchrow(_COUNT, scope.subscriptions, scope.account)
    return Counts(**dict(row)) if row else Counts(0, 0, 0)


async def count_windows(
    connection: Connection, scope: Scope, start: datetime, end: datetime, product: str | None
) -> int:
    """Count the measured windows of products that overlap ``start`` to ``end``."""
    return int(await connection.fetchval(_COUNT_WINDOWS, scope.subscriptions, start, end, product))


async def load_figures(connection: Connection, wanted: Collection[Span]) -> Figures:
    """Load the windows that begin in each span, both ends inclusive."""
    found: Figures = defaultdict(lambda: defaultdict(list))
    for subscription, product, *figures in await connection.fetch(_FIGURES, *_arrays(wanted)):
        found[subscription][product].append(WindowFigures(*figures))
    return found


async def load_usage_rows(
    connection: Connection, wanted: Collection[Span], product: str | None
) -> dict[str, list[ConsumptionRow]]:
    """Load the windows that overlap each span, with their meters.

    Unreadable ones are left out.
    """
    found: dict[str, list[ConsumptionRow]] = defaultdict(list)
    rows = await connection.fetch(_USAGE, *_arrays(wanted), product)
    for subscription, row in decode_rows(rows, _usage_row, "consumption"):
        found[subscription].append(row)
    return found


async def load_last_changes(connection: Connection, subscriptions: Collection[str]) -> dict[str, datetime]:
    """Load when the allocations of each subscription last changed."""
    return {row["subscription"]: row["at"] for row in await connection.fetch(_LAST_CHANGES, list(subscriptions))}


def _usage_row(row: Row) -> tuple[str, ConsumptionRow]:
    subscription, *fields, meters = row
    return subscription, ConsumptionRow(*(*fields, _METERS.validate_json(meters)))


def _arrays(wanted: Collection[Span]) -> tuple[list[str], list[datetime], list[datetime]]:
    return [one.subscription for one in wanted], [one.start for one in wanted], [one.until for one in wanted]
