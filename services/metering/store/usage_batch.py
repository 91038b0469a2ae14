"""The temporary table of a batch of usage, and every statement that reads it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

import asyncpg

from services.metering.domain.catalogue import COUNT, DAY_US, EPOCH, LATEST, PEAK, SUM, UNIQUE
from services.metering.domain.corrections import NO_METER, PURGE, REVERSAL
from services.metering.domain.judgement import Placed
from services.metering.store import rows
from shared.runtime.postgres.pool import Connection

PASSED_OVER = 7
"""Kind of usage in the batch that counts no resource, as a later purge is known.

It is used beside the kinds of meters.
"""

# Sequential scans are off: statements must use indexes, also of a partition that was empty when they were planned.
_EMPTY_BATCH = """
CREATE TEMPORARY TABLE IF NOT EXISTS usage_batch (
    n integer NOT NULL, at timestamptz NOT NULL, received_at timestamptz NOT NULL, kafka_offset bigint NOT NULL,
    digest uuid NOT NULL, subscription integer NOT NULL, meter integer NOT NULL, source integer NOT NULL,
    kafka_partition integer NOT NULL, window_start timestamptz NOT NULL, kind smallint NOT NULL,
    midnight timestamptz, quantity numeric NOT NULL, resource text COLLATE "C", extra text
) ON COMMIT DELETE ROWS;
DELETE FROM usage_batch;
SET LOCAL enable_seqscan = off;
SAVEPOINT usage_batch
"""

# Deletes from the batch, and returns, what is stored already: one scan of the index of the day of most usage ($1); for
# each other row, one lookup in the index of its own day.
_TAKE_OUT_KNOWN = """
WITH known AS (
    SELECT digest, $1::timestamptz AS day FROM usage
    WHERE digest = ANY (ARRAY(SELECT digest FROM usage_batch WHERE at >= $1 AND at < $1 + interval '24 hours'))
      AND at >= $1 AND at < $1 + interval '24 hours'
    UNION ALL
    SELECT b.digest, b.day
    FROM (
        SELECT digest, date_bin('1 day', at, '2000-01-01Z') AS day FROM usage_batch
        WHERE at < $1 OR at >= $1 + interval '24 hours'
    ) b CROSS JOIN LATERAL (
        SELECT FROM usage u
        WHERE u.digest = b.digest AND u.at >= b.day AND u.at < b.day + interval '24 hours' OFFSET 0
    ) u
)
DELETE FROM usage_batch b USING known k
WHERE b.digest = k.digest AND date_bin('1 day', b.at, '2000-01-01Z') = k.day RETURNING b.n
"""

_INSERT = """
INSERT INTO usage (at, received_at, kafka_offset, digest, subscription, meter, source, kafka_partition, quantity,
                   resource, extra)
SELECT at, received_at, kafka_offset, digest, subscription, meter, source, kafka_partition, quantity, resource, extra
FROM usage_batch ORDER BY digest, at
"""
# The same when another process applies some of it concurrently: what is in the day's unique index is deleted from the
# batch and returned.
_INSERT_WHAT_IS_NEW = f"""
WITH fresh AS ({_INSERT} ON CONFLICT DO NOTHING RETURNING digest, at)
DELETE FROM usage_batch b WHERE NOT EXISTS (SELECT FROM fresh f WHERE f.digest = b.digest AND f.at = b.at) RETURNING b.n
"""  # noqa: S608

# Deletes events again whose identity is used on the other side of the same midnight, within an hour of it.
_GUARD_MIDNIGHTS = """
WITH guarded AS (
    INSERT INTO usage_midnight (midnight, digest)
    SELECT midnight, digest FROM usage_batch WHERE midnight IS NOT NULL ORDER BY midnight, digest
    ON CONFLICT DO NOTHING
    RETURNING midnight, digest
), seen AS (
    DELETE FROM usage_batch b
    WHERE b.midnight IS NOT NULL
      AND NOT EXISTS (SELECT FROM guarded g WHERE g.midnight = b.midnight AND g.digest = b.digest)
    RETURNING n, digest, at
), undone AS (
    DELETE FROM usage u USING seen WHERE u.digest = seen.digest AND u.at = seen.at
)
SELECT n FROM seen
"""

# Windows by kind: the order of the locks, as PostgreSQL carries out the parts in the order of reading them. It does not
# promise that: should two processes deadlock, one of their batches is tried again. A level that does not
# change what is known is only written when the window's as_of is a minute old. Of the latest levels at the same time
# the largest counts, so that order of arrival does not matter.
# Hours get a due row here and are updated later (``store.hours``).
# One statement, as each costs a round trip to the server and a turn in this process.
_ADD_UP = f"""
WITH totals AS (
    INSERT INTO meter_window AS w (subscription, meter, window_start, aggregate, revision, as_of)
    SELECT subscription, meter, window_start, sum(CASE kind WHEN {COUNT} THEN 1 ELSE quantity END), 1, max(received_at)
    FROM usage_batch WHERE kind IN ({SUM}, {COUNT})
    GROUP BY subscription, meter, window_start ORDER BY subscription, meter, window_start
    ON CONFLICT (subscription, meter, window_start) DO UPDATE SET
        aggregate = w.aggregate + EXCLUDED.aggregate,
        revision = w.revision + 1,
        as_of = greatest(w.as_of, EXCLUDED.as_of)
    RETURNING subscription, meter, window_start
), best AS (
    SELECT DISTINCT ON (subscription, meter, window_start) subscription, meter, window_start, quantity, at,
        max(received_at) OVER (PARTITION BY subscription, meter, window_start) AS as_of
    FROM usage_batch WHERE kind = {PEAK}
    ORDER BY subscription, meter, window_start, quantity DESC, at
), peaks AS (
    INSERT INTO meter_window AS w (subscription, meter, window_start, aggregate, reached_at, revision, as_of)
    SELECT subscription, meter, window_start, best.quantity, best.at, 1, best.as_of
    FROM best LEFT JOIN meter_window known USING (subscription, meter, window_start)
    WHERE known.reached_at IS NULL OR best.quantity > known.aggregate
       OR (best.quantity = known.aggregate AND best.at < known.reached_at)
       OR best.as_of > known.as_of + interval '1 minute'
    ORDER BY subscription, meter, window_start
    ON CONFLICT (subscription, meter, window_start) DO UPDATE SET
        aggregate = greatest(w.aggregate, EXCLUDED.aggregate),
        reached_at = CASE WHEN EXCLUDED.aggregate > w.aggregate THEN EXCLUDED.reached_at
                          WHEN EXCLUDED.aggregate = w.aggregate THEN least(w.reached_at, EXCLUDED.reached_at)
                          ELSE w.reached_at END,
        revision = w.revision + 1,
        as_of = greatest(w.as_of, EXCLUDED.as_of)
    RETURNING subscription, meter, window_start
), last AS (
    SELECT DISTINCT ON (subscription, meter, window_start) subscription, meter, window_start, quantity, at,
        max(received_at) OVER (PARTITION BY subscription, meter, window_start) AS as_of
    FROM usage_batch WHERE kind = {LATEST}
    ORDER BY subscription, meter, window_start, at DESC, quantity DESC
), latest AS (
    INSERT INTO meter_window AS w (subscription, meter, window_start, aggregate, reached_at, revision, as_of)
    SELECT subscription, meter, window_start, quantity, at, 1, as_of FROM last
    ORDER BY subscription, meter, window_start
    ON CONFLICT (subscription, meter, window_start) DO UPDATE SET
        aggregate = CASE WHEN w.reached_at IS NULL
                           OR (EXCLUDED.reached_at, EXCLUDED.aggregate) > (w.reached_at, w.aggregate)
                         THEN EXCLUDED.aggregate ELSE w.aggregate END,
        reached_at = greatest(w.reached_at, EXCLUDED.reached_at),
        revision = w.revision + 1,
        as_of = greatest(w.as_of, EXCLUDED.as_of)
    RETURNING subscription, meter, window_start
), fresh AS (
    INSERT INTO sighting (subscription, meter, window_start, resource, received_at)
    SELECT subscription, meter, window_start, resource, min(received_at)
    FROM usage_batch WHERE kind = {UNIQUE}
    GROUP BY subscription, meter, window_start, resource ORDER BY subscription, meter, window_start, resource
    ON CONFLICT DO NOTHING
    RETURNING subscription, meter, window_start
), counted AS (
    SELECT subscription, meter, window_start, count(*) AS resources FROM fresh GROUP BY 1, 2, 3
), touched AS (
    SELECT subscription, meter, window_start, max(received_at) AS as_of
    FROM usage_batch WHERE kind = {UNIQUE} GROUP BY 1, 2, 3
), resources AS (
    INSERT INTO meter_window AS w (subscription, meter, window_start, aggregate, revision, as_of)
    SELECT subscription, meter, window_start, coalesce(counted.resources, 0), 1, touched.as_of
    FROM touched
    LEFT JOIN counted USING (subscription, meter, window_start)
    LEFT JOIN LATERAL (
        SELECT as_of FROM meter_window k
        WHERE counted.resources IS NULL AND k.subscription = touched.subscription AND k.meter = touched.meter
          AND k.window_start = touched.window_start OFFSET 0
    ) known ON true
    WHERE counted.resources IS NOT NULL OR touched.as_of > known.as_of + interval '1 minute'
    ORDER BY subscription, meter, window_start
    ON CONFLICT (subscription, meter, window_start) DO UPDATE SET
        aggregate = w.aggregate + EXCLUDED.aggregate,
        revision = w.revision + 1,
        as_of = greatest(w.as_of, EXCLUDED.as_of)
    RETURNING subscription, meter, window_start
), changed AS (
    SELECT * FROM totals UNION ALL SELECT * FROM peaks UNION ALL SELECT * FROM latest UNION ALL SELECT * FROM resources
), hours AS (
    INSERT INTO hour_due (days, subscriptions, meters, hours, events, totals, peaks)
    SELECT array_agg(DISTINCT (hour AT TIME ZONE 'UTC')::date), array_agg(subscription), array_agg(meter),
           array_agg(hour), array_agg(events), array_agg(total), array_agg(peak)
    FROM (
        SELECT subscription, meter, date_bin('1 hour', at, '2000-01-01Z') AS hour, count(*) AS events,
               sum(quantity) AS total, max(quantity) AS peak
        FROM usage_batch WHERE meter <> {NO_METER} GROUP BY 1, 2, 3
    ) AS added
    HAVING count(*) > 0
)
INSERT INTO snapshot_due (subscriptions, meters, windows)
SELECT array_agg(subscription), array_agg(meter), array_agg(window_start) FROM changed HAVING count(*) > 0
"""  # noqa: S608

# Whether there are corrections that may concern usage: one read per batch, which is all that nearly every batch needs.
_FIND_CORRECTIONS = f"""
SELECT EXISTS (SELECT FROM correction WHERE kind = {REVERSAL} AND settled_at IS NULL) AS waiting,
       EXISTS (SELECT FROM correction WHERE kind = {PURGE} AND reversed_at IS NULL) AS purged,
       (SELECT version FROM projection) AS version
"""  # noqa: S608
# OFFSET 0: one index lookup for each row. The planner knows nothing of the batch's table, and joined the other way
# round this costs twenty times all the rest (see docs/performance-log/ingest.md).
_WAKE = f"""
INSERT INTO correction_woken (correction)
SELECT c.id FROM usage_batch b CROSS JOIN LATERAL (
    SELECT id FROM correction WHERE target = b.digest AND kind = {REVERSAL} AND settled_at IS NULL OFFSET 0
) c
"""  # noqa: S608
# Sightings not later than the last purge in their window are stored as usage but count no resource.
_PASS_OVER = f"""
UPDATE usage_batch b SET kind = {PASSED_OVER}
WHERE b.kind = {UNIQUE} AND EXISTS (
    SELECT FROM correction p
    WHERE p.kind = {PURGE} AND p.reversed_at IS NULL AND p.subscription = b.subscription AND p.meter = b.meter
      AND p.resource = b.resource AND p.window_start = b.window_start AND p.at >= b.at OFFSET 0)
"""  # noqa: S608


Step = Literal["meet_corrections", "add_up", "nothing"]


class UsageBatch:
    """Placed usage of one batch, in a connection's temporary table.

    The table is ``usage_batch``. ``insert`` makes a batch inside the transaction that applies it; then call
    ``meet_corrections``, then ``add_up``, each once. A connection has one batch at a time; the next one empties the
    table.

    Every process locks in one order, so that no two deadlock: usage by (digest, time), midnights, then
    (by the caller, before ``add_up``) final windows that are restated, meter windows by kind and key (those of counted
    resources after their sightings), the books last. Hours are changed by one process at a time (``store.hours``).
    """

    def __init__(self, connection: Connection, repeated: set[int]) -> None:
        self._connection = connection
        self._next: Step = "meet_corrections"
        self.repeated = repeated
        """Indexes of usage whose identity was stored before; contents are not compared."""

    @classmethod
    async def insert(cls, connection: Connection, placed: Sequence[Placed]) -> "UsageBatch":
        """Insert usage with distinct digests into raw usage.

        Usage that was stored before is in ``repeated`` and no longer in the temporary table.
        """
        data, near_midnight = rows.encode(placed)
        await connection.execute(_EMPTY_BATCH)
        await _copy(connection, data)
        main_day = EPOCH + timedelta(days=placed[len(placed) // 2].usage.at_us // DAY_US)
        repeated = {row["n"] for row in await connection.fetch(_TAKE_OUT_KNOWN, main_day)}
        if len(repeated) == len(placed):
            return cls(connection, repeated)
        try:
            await connection.execute(_INSERT)  # half the work of ON CONFLICT DO NOTHING
        except asyncpg.UniqueViolationError:  # another process has applied some of it meanwhile
            await connection.execute("ROLLBACK TO usage_batch")
            await _copy(connection, data)
            repeated = {row["n"] for row in await connection.fetch(_INSERT_WHAT_IS_NEW)}
        if near_midnight:
            repeated.update(row["n"] for row in await connection.fetch(_GUARD_MIDNIGHTS))
        return cls(connection, repeated)

    async def meet_corrections(self) -> int:
        """Apply recorded corrections to the inserted usage.

        Return the projection's stored version. A process that changes the projection and commits after this read finds
        this transaction in progress.
        """
        self._step("meet_corrections", then="add_up")
        (known,) = await self._connection.fetch(_FIND_CORRECTIONS)
        if known["waiting"]:
            await self._connection.execute(_WAKE)
        if known["purged"]:
            await self._connection.execute(_PASS_OVER)
        return int(known["version"])

    async def add_up(self) -> None:
        """Add the inserted usage to windows and sightings.

        Due rows for hours and snapshots are inserted too.
        """
        self._step("add_up", then="nothing")
        await self._connection.execute(_ADD_UP)

    def _step(self, step: Step, *, then: Step) -> None:
        if self._next != step:
            raise RuntimeError(f"{step} was called where {self._next} comes next")
        self._next = then


async def _copy(connection: Connection, data: bytes) -> None:
    await connection.copy_to_table("usage_batch", source=rows.stream(data), columns=rows.COLUMNS, format="binary")
