"""What was worked out anew (``recomputing``) takes the place of what is stored, as far as raw usage reaches."""

from datetime import datetime

from services.metering.store import hours
from shared.runtime.postgres import Connection

_WINDOWS = """
WITH changed AS (
    INSERT INTO meter_window AS w (subscription, meter, window_start, aggregate, reached_at, revision, as_of)
    SELECT subscription, meter, window_start, coalesce(a.aggregate, 0), a.reached_at, 1, coalesce(a.as_of, k.as_of)
    FROM (SELECT * FROM again_window WHERE window_start >= $1) a
    FULL JOIN (SELECT * FROM meter_window WHERE window_start >= $1) k USING (subscription, meter, window_start)
    ORDER BY 1, 2, 3
    ON CONFLICT (subscription, meter, window_start) DO UPDATE SET
        aggregate = EXCLUDED.aggregate, reached_at = EXCLUDED.reached_at, revision = w.revision + 1
    WHERE (w.aggregate, w.reached_at) IS DISTINCT FROM (EXCLUDED.aggregate, EXCLUDED.reached_at)
    RETURNING subscription, meter, window_start
), due AS (
    INSERT INTO snapshot_due (subscriptions, meters, windows)
    SELECT array_agg(subscription), array_agg(meter), array_agg(window_start) FROM changed HAVING count(*) > 0
)
SELECT count(*) FROM changed
"""
_GONE = """
DELETE FROM sighting g WHERE g.window_start >= $1 AND NOT EXISTS (
    SELECT FROM again_sighting a
    WHERE (a.subscription, a.meter, a.window_start, a.resource) = (g.subscription, g.meter, g.window_start, g.resource))
"""
_BACK = """
INSERT INTO sighting (subscription, meter, window_start, resource, received_at)
SELECT subscription, meter, window_start, resource, received_at FROM again_sighting WHERE window_start >= $1
ON CONFLICT DO NOTHING
"""
_EMPTY_HOURS = "DELETE FROM usage_hour WHERE hour >= $1"
_FILL_HOURS = """
INSERT INTO usage_hour (subscription, meter, hour, events, total, peak)
SELECT subscription, meter, hour, events, total, peak FROM again_hour WHERE hour >= $1
"""


async def refill(connection: Connection, since: datetime, hours_since: datetime) -> int:
    """Replace windows and sightings that begin at ``since`` or later, and hours; how many windows are others now."""
    changed = int(await connection.fetchval(_WINDOWS, since))
    await connection.execute(_GONE, since)
    await connection.execute(_BACK, since)
    await hours.add_all(connection)
    await connection.execute(_EMPTY_HOURS, hours_since)
    await connection.execute(_FILL_HOURS, hours_since)
    return changed
