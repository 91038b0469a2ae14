"""Revisions of consumption as they were recorded, and which counts when.

Of a window that was open when it was recorded, the last revision of each hour counts from the end of the hour, or of
the window, on (``known_at``). Of one that had ended, each revision counts from when it was recorded. In a window,
later revisions are known later, so the newest that was known at an instant has the highest revision.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from services.reporting.store.consumption import ConsumptionRow, newest_revisions
from services.reporting.store.subscription_batches import Span
from shared.events.metering import MeterConsumption
from shared.events.snapshots import Snapshot, meters_text
from shared.runtime.postgres.pool import Connection, Row
from shared.runtime.postgres.row_decoding import decode_rows

_METERS = TypeAdapter(tuple[MeterConsumption, ...])

# $11: the time of recording. If the database's clock was set back, a revision is known no earlier than the one before.
_INSERT = """
INSERT INTO consumption_revisions AS stored (
    subscription, product, window_start, known_at, window_end, retained_as, recorded_at, revision, consumed, level,
    burned_down, as_of, meters
)
SELECT new.subscription, new.product, new.window_start,
    greatest(newest.known_at, CASE
        WHEN $11 < new.window_end THEN least(date_trunc('hour', $11, 'UTC') + interval '1 hour', new.window_end)
        ELSE $11
    END),
    new.window_end, CASE WHEN $11 < new.window_end THEN 'hour' ELSE 'day' END, $11, new.revision, new.consumed,
    new.level, new.burned_down, new.as_of, new.meters
FROM unnest(
    $1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::timestamptz[], $10::jsonb[]
) AS new (
    subscription, product, window_start, window_end, revision, consumed, level, burned_down, as_of, meters
)
LEFT JOIN LATERAL (
    SELECT known_at, revision FROM consumption_revisions AS known
    WHERE known.subscription = new.subscription AND known.product = new.product
        AND known.window_start = new.window_start
    ORDER BY known_at DESC LIMIT 1
) AS newest ON true
WHERE newest.revision IS NULL OR newest.revision < new.revision
ORDER BY 1, 2, 3
ON CONFLICT (subscription, product, window_start, known_at) DO UPDATE SET
    window_end = excluded.window_end, retained_as = excluded.retained_as, recorded_at = excluded.recorded_at,
    revision = excluded.revision, consumed = excluded.consumed, level = excluded.level,
    burned_down = excluded.burned_down, as_of = excluded.as_of, meters = excluded.meters
WHERE stored.revision < excluded.revision
"""
# The windows of a subscription are found one after the other in the index, however many revisions they have.
_LOAD_AT = """
WITH RECURSIVE wanted AS (
    SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS wanted (subscription, start, until)
), windows AS (
    SELECT wanted.subscription, first.product, first.window_start
    FROM wanted CROSS JOIN LATERAL (
        SELECT product, window_start FROM consumption_revisions
        WHERE subscription = wanted.subscription ORDER BY product, window_start LIMIT 1
    ) AS first
    UNION ALL
    SELECT windows.subscription, following.product, following.window_start
    FROM windows CROSS JOIN LATERAL (
        SELECT product, window_start FROM consumption_revisions
        WHERE subscription = windows.subscription AND (product, window_start) > (windows.product, windows.window_start)
        ORDER BY product, window_start LIMIT 1
    ) AS following
)
SELECT windows.subscription, windows.product, windows.window_start, chosen.*
FROM windows JOIN wanted ON wanted.subscription = windows.subscription
    AND windows.window_start >= wanted.start AND windows.window_start <= wanted.until
CROSS JOIN LATERAL (
    SELECT window_end, revision, consumed, level, burned_down, as_of, meters, recorded_at
    FROM consumption_revisions AS known
    WHERE known.subscription = windows.subscription AND known.product = windows.product
        AND known.window_start = windows.window_start AND known_at <= $4
    ORDER BY known_at DESC LIMIT 1
) AS chosen
ORDER BY windows.subscription, windows.product, windows.window_start
"""


@dataclass(frozen=True, slots=True)
class RecordedConsumption(ConsumptionRow):
    """A revision of what one product consumed in one window."""

    recorded_at: datetime


async def insert_revisions(connection: Connection, snapshots: Iterable[Snapshot], now: datetime) -> None:
    """Record each snapshot that is newer than the newest revision of its window."""
    newest = newest_revisions(snapshots)
    await connection.execute(
        _INSERT,
        [one.subscription for one in newest],
        [one.product for one in newest],
        [one.window_start for one in newest],
        [one.window_end for one in newest],
        [one.revision for one in newest],
        [one.consumed for one in newest],
        [one.level for one in newest],
        [one.burned_down for one in newest],
        [one.as_of for one in newest],
        [meters_text(one) for one in newest],
        now,
    )


async def load_revisions_at(
    connection: Connection, wanted: Collection[Span], at: datetime
) -> dict[str, list[RecordedConsumption]]:
    """Load what was known at ``at`` of the windows that begin in each span.

    Both ends are inclusive. It is by subscription, in order of product and time; unreadable rows are left out.
    """
    found: dict[str, list[RecordedConsumption]] = defaultdict(list)
    rows = await connection.fetch(
        _LOAD_AT,
        [one.subscription for one in wanted],
        [one.start for one in wanted],
        [one.until for one in wanted],
        at,
    )
    for subscription, row in decode_rows(rows, _decode, "consumption_revisions"):
        found[subscription].append(row)
    return found


def _decode(row: Row) -> tuple[str, RecordedConsumption]:
    fields = dict(row)
    subscription: str = fields.pop("subscription")
    return subscription, RecordedConsumption(**{**fields, "meters": _METERS.validate_json(fields["meters"])})
