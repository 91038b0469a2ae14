"""Replacement of stored windows, sightings and hours by recomputed ones.

The values come from ``recomputation`` and reach back as far as raw usage does.
"""

from datetime import datetime

from services.metering.store import hours, measured_days, partitions, window_changes
from services.metering.store.window_changes import Key
from shared.runtime.postgres.pool import Connection

_UPSERT_WINDOWS = """
WITH changed AS (
    INSERT INTO meter_window AS w (subscription, meter, window_start, aggregate, reached_at, revision, as_of)
    SELECT subscription, meter, window_start, coalesce(a.aggregate, 0), a.reached_at, 1, coalesce(a.as_of, k.as_of)
    FROM (SELECT * FROM recomputed_window WHERE window_start >= $1) a
    FULL JOIN (
        SELECT * FROM meter_window WHERE window_start >= $1 AND ($2::integer IS NULL OR subscription = $2)
    ) k USING (subscription, meter, window_start)
    ORDER BY 1, 2, 3
    ON CONFLICT (subscription, meter, window_start) DO UPDATE SET
        aggregate = EXCLUDED.aggregate, reached_at = EXCLUDED.reached_at, revision = w.revision + 1
    WHERE (w.aggregate, w.reached_at) IS DISTINCT FROM (EXCLUDED.aggregate, EXCLUDED.reached_at)
    RETURNING subscription, meter, window_start
)
SELECT subscription, meter, window_start FROM changed
"""
_DELETE_SIGHTINGS = """
DELETE FROM sighting g WHERE g.window_start >= $1 AND ($2::integer IS NULL OR g.subscription = $2) AND NOT EXISTS (
    SELECT FROM recomputed_sighting a
    WHERE (a.subscription, a.meter, a.window_start, a.resource) = (g.subscription, g.meter, g.window_start, g.resource))
"""
_INSERT_SIGHTINGS = """
INSERT INTO sighting (subscription, meter, window_start, resource, received_at)
SELECT subscription, meter, window_start, resource, received_at FROM recomputed_sighting WHERE window_start >= $1
ON CONFLICT DO NOTHING
"""
_FIND_WINDOW_STARTS = "SELECT DISTINCT window_start FROM recomputed_sighting WHERE window_start >= $1"
_DELETE_HOURS = "DELETE FROM usage_hour WHERE hour >= $1"
_INSERT_HOURS = """
INSERT INTO usage_hour (subscription, meter, hour, events, total, peak)
SELECT subscription, meter, hour, events, total, peak FROM recomputed_hour WHERE hour >= $1
"""


async def replace_all(connection: Connection, since: datetime, hours_since: datetime) -> int:
    """Replace windows, sightings and hours. Return how many windows changed.

    Windows and sightings that begin at ``since`` or later are replaced, and hours from ``hours_since`` on. Snapshots of
    the changed windows become due, and all days since ``hours_since``.
    """
    changed = await replace_windows(connection, since)
    await window_changes.insert_due(connection, changed)
    await hours.add_all(connection)
    await connection.execute(_DELETE_HOURS, hours_since)
    await connection.execute(_INSERT_HOURS, hours_since)
    await measured_days.insert_due_since(connection, hours_since)
    return len(changed)


async def replace_windows(connection: Connection, since: datetime, subscription: int | None = None) -> list[Key]:
    """Replace windows and sightings, of one subscription or of all.

    Only those that begin at ``since`` or later are replaced. Return the windows that changed.
    """
    changed: list[Key] = [tuple(row) for row in await connection.fetch(_UPSERT_WINDOWS, since, subscription)]
    await connection.execute(_DELETE_SIGHTINGS, since, subscription)
    starts = [row["window_start"] for row in await connection.fetch(_FIND_WINDOW_STARTS, since)]
    await partitions.make_partitions(
        connection, partitions.missing(((partitions.SIGHTINGS, at.date()) for at in starts), set())
    )
    await connection.execute(_INSERT_SIGHTINGS, since)
    return changed
