"""Forecasts, and the measured windows that they are made of."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter

from services.reporting.domain.insights.accuracy import Accuracy, EarlierForecast
from services.reporting.domain.insights.forecasts import InputWindow, ScopeForecast
from services.reporting.domain.insights.series import MeasuredWindow
from services.reporting.domain.insights.subscription_forecast import SubscriptionForecast
from shared.runtime.postgres.pool import Connection, Row

LOCK: Final = 0x756E6974_696E7369
"""Key of the advisory lock of the run, of which there is one at a time."""

_INPUTS = TypeAdapter(tuple[InputWindow, ...])
_SCOPES = TypeAdapter(tuple[ScopeForecast, ...])
_ACCURACIES = TypeAdapter(tuple[Accuracy, ...])

_TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
_LOCK = "SELECT pg_advisory_xact_lock($1)"
# Only subscriptions within their term are forecast.
_FIND_DUE = """
SELECT id FROM subscriptions AS due
WHERE id > $2 AND id <> ALL($3::text[])
    AND state ->> 'model' = 'flex' AND state ->> 'state' IN ('active', 'exhausted')
    AND NOT EXISTS (SELECT FROM forecasts WHERE subscription = due.id AND made_at >= $1)
ORDER BY id LIMIT $4
"""
_COUNT_DUE = """
SELECT count(*) FROM subscriptions AS due
WHERE state ->> 'model' = 'flex' AND state ->> 'state' IN ('active', 'exhausted')
    AND NOT EXISTS (SELECT FROM forecasts WHERE subscription = due.id AND made_at >= $1)
"""
_IS_MADE = "SELECT EXISTS (SELECT FROM forecasts WHERE subscription = $1 AND made_at >= $2)"
_LOAD_WINDOWS = """
SELECT product, window_start, window_end, revision, level, burned_down, as_of
FROM consumption
WHERE subscription = $1 AND window_end > $2 AND window_start <= $3
ORDER BY product, window_start
"""
_FIND_NEWEST = """
SELECT
    subscription, window_start, version, subscription_version, made_at, method, term_start, inputs, scopes, accuracies
FROM forecasts WHERE subscription = $1 ORDER BY window_start DESC LIMIT 1
"""
_LOAD_EARLIER = """
SELECT made_at, scopes FROM forecasts
WHERE subscription = $1 AND window_start < $2 AND term_start = $3
ORDER BY window_start DESC LIMIT $4
"""
_UPSERT = """
INSERT INTO forecasts (
    subscription, window_start, version, subscription_version, made_at, method, term_start, inputs, scopes, accuracies
)
SELECT $1, $2, coalesce((SELECT max(version) FROM forecasts WHERE subscription = $1), 0) + 1, $3, $4, $5, $6, $7, $8, $9
ON CONFLICT (subscription, window_start) DO UPDATE SET
    version = excluded.version, subscription_version = excluded.subscription_version, made_at = excluded.made_at,
    method = excluded.method, term_start = excluded.term_start, inputs = excluded.inputs, scopes = excluded.scopes,
    accuracies = excluded.accuracies
RETURNING version
"""
_DELETE_OLD = """
DELETE FROM forecasts
WHERE (subscription, window_start) IN (
    SELECT subscription, window_start FROM forecasts WHERE made_at < $1 ORDER BY made_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""


async def try_lock_run(connection: Connection) -> bool:
    """Take the lock of the run until the transaction ends, if nobody has it."""
    return bool(await connection.fetchval(_TRY_LOCK, LOCK))


async def lock_run(connection: Connection) -> None:
    """Wait for the lock of the run, and take it until the transaction ends."""
    await connection.execute(_LOCK, LOCK)


async def find_due(
    connection: Connection, due_at: datetime, after: str, except_for: Sequence[str], limit: int
) -> list[str]:
    """List subscriptions without a forecast since ``due_at``, by id, after an id."""
    return [row["id"] for row in await connection.fetch(_FIND_DUE, due_at, after, list(except_for), limit)]


async def count_due(connection: Connection, due_at: datetime) -> int:
    """Count the subscriptions without a forecast since ``due_at``."""
    return int(await connection.fetchval(_COUNT_DUE, due_at))


async def is_made(connection: Connection, subscription: str, due_at: datetime) -> bool:
    """Whether a subscription has a forecast since ``due_at``."""
    return bool(await connection.fetchval(_IS_MADE, subscription, due_at))


async def load_windows(
    connection: Connection, subscription: str, since: datetime, until: datetime
) -> list[MeasuredWindow]:
    """Load the windows that end after ``since`` and begin by ``until``.

    They are in order of product and time.
    """
    return [MeasuredWindow(*row) for row in await connection.fetch(_LOAD_WINDOWS, subscription, since, until)]


async def find_newest_forecast(connection: Connection, subscription: str) -> SubscriptionForecast | None:
    """Find the newest forecast of a subscription."""
    row = await connection.fetchrow(_FIND_NEWEST, subscription)
    return None if row is None else _forecast(row)


async def load_earlier(
    connection: Connection, subscription: str, window_start: datetime, term_start: datetime, limit: int
) -> list[EarlierForecast]:
    """Load the newest forecasts of earlier windows of the term, newest first."""
    rows = await connection.fetch(_LOAD_EARLIER, subscription, window_start, term_start, limit)
    return [EarlierForecast(row["made_at"], _SCOPES.validate_json(row["scopes"])) for row in rows]


async def upsert_forecast(connection: Connection, forecast: SubscriptionForecast) -> int:
    """Upsert the newest forecast of a window, and return its version.

    It is the next one of the subscription; ``forecast.version`` is not read.
    """
    return int(
        await connection.fetchval(
            _UPSERT,
            forecast.subscription,
            forecast.window_start,
            forecast.subscription_version,
            forecast.made_at,
            forecast.method,
            forecast.term_start,
            _INPUTS.dump_json(forecast.inputs).decode(),
            _SCOPES.dump_json(forecast.scopes).decode(),
            _ACCURACIES.dump_json(forecast.accuracies).decode(),
        )
    )


async def delete_old_forecasts(connection: Connection, before: datetime, limit: int) -> None:
    """Delete forecasts that were made before ``before``, at most ``limit``."""
    await connection.execute(_DELETE_OLD, before, limit)


def _forecast(row: Row) -> SubscriptionForecast:
    return SubscriptionForecast(
        row["subscription"],
        row["version"],
        row["subscription_version"],
        row["made_at"],
        row["method"],
        row["window_start"],
        row["term_start"],
        _INPUTS.validate_json(row["inputs"]),
        _SCOPES.validate_json(row["scopes"]),
        _ACCURACIES.validate_json(row["accuracies"]),
    )
