"""Retention of revisions of consumption.

Hours become days, days the last revision of a window, and that is deleted as well.
"""

from collections.abc import Sequence
from datetime import datetime

from shared.runtime.postgres.pool import Connection

OWNERS_MAX = 1_000
"""Most subscriptions of one round.

Each has thousands of rows, and an SQL statement has a time limit.
"""

# Whole days only, so that a day's last revision is thinned out once.
_FIND_HOURS = """
SELECT DISTINCT subscription FROM consumption_revisions
WHERE retained_as = 'hour' AND known_at <= date_trunc('day', $1, 'UTC') AND subscription <> ALL($2::text[]) LIMIT $3
"""
# A row counts from the end of its hour on: midnight belongs to the day before.
_THIN_HOURS = """
WITH hours AS (
    SELECT subscription, product, window_start, known_at, known_at < max(known_at) OVER (
        PARTITION BY subscription, product, window_start,
            date_trunc('day', known_at - interval '1 microsecond', 'UTC')
    ) AS is_superseded
    FROM consumption_revisions
    WHERE subscription = ANY($2::text[]) AND retained_as = 'hour' AND known_at <= date_trunc('day', $1, 'UTC')
), thinned AS (
    DELETE FROM consumption_revisions AS stored USING hours
    WHERE hours.is_superseded AND stored.subscription = hours.subscription AND stored.product = hours.product
        AND stored.window_start = hours.window_start AND stored.known_at = hours.known_at
)
UPDATE consumption_revisions AS stored SET retained_as = 'day' FROM hours
WHERE NOT hours.is_superseded AND stored.subscription = hours.subscription AND stored.product = hours.product
    AND stored.window_start = hours.window_start AND stored.known_at = hours.known_at
"""
_FIND_DAYS = """
SELECT DISTINCT subscription FROM consumption_revisions
WHERE retained_as = 'day' AND known_at <= $1 AND subscription <> ALL($2::text[]) LIMIT $3
"""
_THIN_DAYS = """
WITH days AS (
    SELECT subscription, product, window_start, known_at, known_at < max(known_at) OVER (
        PARTITION BY subscription, product, window_start
    ) AS is_superseded
    FROM consumption_revisions
    WHERE subscription = ANY($2::text[]) AND retained_as IN ('day', 'last') AND known_at <= $1
), thinned AS (
    DELETE FROM consumption_revisions AS stored USING days
    WHERE days.is_superseded AND stored.subscription = days.subscription AND stored.product = days.product
        AND stored.window_start = days.window_start AND stored.known_at = days.known_at
)
UPDATE consumption_revisions AS stored SET retained_as = 'last' FROM days
WHERE NOT days.is_superseded AND stored.subscription = days.subscription AND stored.product = days.product
    AND stored.window_start = days.window_start AND stored.known_at = days.known_at
    AND stored.retained_as = 'day'
"""
# The newest window of each product is retained at any age: it holds the term to date.
_FIND_LAST = """
SELECT DISTINCT subscription FROM consumption_revisions AS old
WHERE retained_as = 'last' AND window_end < $1 AND subscription <> ALL($2::text[]) AND EXISTS (
    SELECT FROM consumption_revisions AS newer
    WHERE newer.subscription = old.subscription AND newer.product = old.product
        AND newer.window_start > old.window_start
) LIMIT $3
"""
_DELETE_LAST = """
DELETE FROM consumption_revisions AS old
WHERE subscription = ANY($2::text[]) AND retained_as = 'last' AND window_end < $1 AND EXISTS (
    SELECT FROM consumption_revisions AS newer
    WHERE newer.subscription = old.subscription AND newer.product = old.product
        AND newer.window_start > old.window_start
)
"""


async def find_hourly(connection: Connection, before: datetime, except_for: Sequence[str]) -> list[str]:
    """List subscriptions with hourly revisions of days that ended by ``before``."""
    return [row["subscription"] for row in await connection.fetch(_FIND_HOURS, before, list(except_for), OWNERS_MAX)]


async def thin_hours(connection: Connection, before: datetime, subscriptions: Sequence[str]) -> None:
    """Retain only the last revision of each day and window.

    Only of days that ended by ``before``.
    """
    await connection.execute(_THIN_HOURS, before, list(subscriptions))


async def find_daily(connection: Connection, before: datetime, except_for: Sequence[str]) -> list[str]:
    """List subscriptions with daily revisions that were known by ``before``."""
    return [row["subscription"] for row in await connection.fetch(_FIND_DAYS, before, list(except_for), OWNERS_MAX)]


async def thin_days(connection: Connection, before: datetime, subscriptions: Sequence[str]) -> None:
    """Retain only the last revision of each window.

    Only of those that were known by ``before``.
    """
    await connection.execute(_THIN_DAYS, before, list(subscriptions))


async def find_last(connection: Connection, before: datetime, except_for: Sequence[str]) -> list[str]:
    """List subscriptions with windows that ended before ``before``.

    Those of a product's newest window are left out.
    """
    return [row["subscription"] for row in await connection.fetch(_FIND_LAST, before, list(except_for), OWNERS_MAX)]


async def delete_last(connection: Connection, before: datetime, subscriptions: Sequence[str]) -> None:
    """Delete the windows that ended before ``before``, but each product's newest."""
    await connection.execute(_DELETE_LAST, before, list(subscriptions))
