"""Moves of usage that was placed by an older state of its subscription.

A due move names the subscription; the other statements move its usage.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from services.metering.domain.corrections import NO_METER, PURGE
from services.metering.domain.reasons import Reason
from services.metering.domain.spans import Change
from services.metering.store.corrections import Correction, Target, correction_of
from shared.events.envelope import rfc3339
from shared.events.topics import USAGE
from shared.events.usage import UsageRecorded
from shared.runtime.postgres.pool import Connection

_INSERT_DUE = """
INSERT INTO move_due (subscription, since, lost, terms, windows, look_at)
SELECT number, $2, $3, $4, $5, $6 FROM subscription WHERE id = $1
"""
_INSERT_MISPLACED = """
INSERT INTO move_due (subscription, since, lost, terms, windows, look_at)
SELECT k.subscription, k.since, true, k.windows, k.windows, $4
FROM unnest($1::integer[], $2::timestamptz[], $3::boolean[]) AS k (subscription, since, windows)
"""
_LOCK_NEXT = """
SELECT id, subscription, since, lost, terms, windows, looks_from FROM move_due
WHERE look_at <= $1 ORDER BY look_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_POSTPONE = "UPDATE move_due SET look_at = $2 WHERE id = $1"
_BEGIN_RECHECK = (
    "UPDATE move_due SET looks_from = pg_current_xact_id()::text::bigint, look_at = $2, terms = false WHERE id = $1"
)
_DELETE_ALL_DUE = "DELETE FROM move_due"
_DELETE_DUE = "DELETE FROM move_due WHERE id = $1"
# Counted usage within the gaps in which it does not count.
_LOCK_OUTSIDE = f"""
SELECT u.digest, u.at, u.subscription, u.meter, u.quantity, u.resource, u.reversed_at, u.received_at, u.kafka_partition,
       u.kafka_offset, u.extra, source.id AS source
FROM unnest($2::integer[], $3::timestamptz[], $4::timestamptz[]) AS gap (meter, since, until)
JOIN usage u ON u.subscription = $1 AND u.meter = gap.meter AND u.at >= gap.since AND u.at < gap.until
JOIN source ON source.number = u.source
WHERE u.at >= $5 AND u.meter <> {NO_METER} AND u.quarantined_at IS NULL
ORDER BY u.digest, u.at LIMIT $6 FOR UPDATE OF u
"""  # noqa: S608
# Usage that was taken out before, with its row in quarantine.
_LOCK_REMOVED = """
SELECT u.digest, u.at, u.subscription, u.meter, u.quantity, u.resource, u.reversed_at, u.received_at, u.kafka_partition,
       u.kafka_offset, u.extra, q.source, q.id AS row
FROM quarantine q JOIN usage u ON u.digest = q.digest AND u.at = q.at
WHERE q.subscription = $1 AND q.settled_at IS NULL AND q.digest IS NOT NULL AND u.quarantined_at IS NOT NULL
ORDER BY u.digest, u.at FOR UPDATE OF u, q
"""
_MARK = """
UPDATE usage u SET quarantined_at = $3
FROM unnest($1::uuid[], $2::timestamptz[]) AS gone (digest, at)
WHERE u.digest = gone.digest AND u.at = gone.at AND u.at >= $4 AND u.at <= $5
"""
_LOCK_PURGES = f"""
SELECT * FROM correction
WHERE subscription = $1 AND kind = {PURGE} AND at >= $2 AND reversed_at IS NULL ORDER BY id FOR UPDATE
"""  # noqa: S608
_PLACE_PURGES = """
UPDATE correction c SET window_start = k.window_start
FROM unnest($1::bigint[], $2::timestamptz[]) AS k (id, window_start) WHERE c.id = k.id
"""
_REPUBLISH = """
WITH changed AS (
    UPDATE meter_window SET revision = revision + 1 WHERE subscription = $1 AND window_start >= $2
    RETURNING subscription, meter, window_start
)
INSERT INTO snapshot_due (subscriptions, meters, windows)
SELECT array_agg(subscription), array_agg(meter), array_agg(window_start) FROM changed HAVING count(*) > 0
"""
# A snapshot's revision is a sum over the windows that it counts, which may be fewer now: so each is raised above all.
_RAISE_REVISIONS = """
UPDATE meter_window w SET revision = w.revision + 2 + (
    SELECT sum(one.revision)::bigint FROM meter_window one
    WHERE (one.subscription, one.meter) = (w.subscription, w.meter))
WHERE w.subscription = $1 AND w.window_start >= $2
"""
_LOCK_WINDOWS = """
SELECT FROM meter_window WHERE subscription = $1 AND window_start >= $2 ORDER BY meter, window_start FOR UPDATE
"""
_QUARANTINE = (
    *("topic", "kafka_partition", "kafka_offset", "received_at", "quarantined_at", "reason", "detail", "source"),
    *("product", "subscription", "value", "headers", "judged_version", "digest", "at"),
)


@dataclass(frozen=True, slots=True)
class DueMove:
    """A row of ``move_due``: a subscription with usage to move.

    ``lost``, ``terms`` and ``windows`` are those of ``spans.Change``.
    """

    id: int
    subscription: int
    since: datetime
    lost: bool
    terms: bool
    windows: bool
    looks_from: int | None


@dataclass(frozen=True, slots=True)
class AppliedUsage:
    """An applied event with its origin.

    ``row`` is the id of its row in quarantine, if it was taken out before.
    """

    target: Target
    received_at: datetime
    partition: int
    offset: int
    extra: str | None
    source: str
    row: int | None = None


@dataclass(frozen=True, slots=True)
class RemovedUsage:
    """An applied event that does not count, and why.

    ``subscription``, ``product`` and ``meter`` are ids.
    """

    placed: AppliedUsage
    subscription: str
    product: str
    meter: str
    reason: Reason
    detail: str


class Misplaced(NamedTuple):
    """A subscription number whose usage since ``since`` was placed wrongly.

    ``windows`` says whether some of it belongs to another window.
    """

    subscription: int
    since: datetime
    windows: bool


async def insert_due(
    connection: Connection, subscription: str, since: datetime, changed: Change, now: datetime
) -> None:
    """Insert a due move for usage of a subscription since ``since``."""
    await connection.execute(_INSERT_DUE, subscription, since, changed.lost, changed.terms, changed.windows, now)


async def insert_misplaced(connection: Connection, misplaced: Sequence[Misplaced], now: datetime) -> None:
    """Insert due moves for usage that was placed by an older projection."""
    if misplaced:
        columns = [[one[place] for one in misplaced] for place in range(3)]
        await connection.execute(_INSERT_MISPLACED, *columns, now)


async def lock_next(connection: Connection, now: datetime) -> DueMove | None:
    """Lock the next due move; ``None`` if there is none.

    Moves locked by others are skipped.
    """
    row = await connection.fetchrow(_LOCK_NEXT, now)
    return DueMove(*row) if row else None


async def postpone(connection: Connection, due: int, until: datetime) -> None:
    """Have a move due at ``until``."""
    await connection.execute(_POSTPONE, due, until)


async def begin_recheck(connection: Connection, due: int, look_at: datetime) -> None:
    """Begin the recheck of a move: save this transaction's number.

    Transactions that begin after this one has ended place usage by the new state. The next pass is due at ``look_at``;
    it does not regard the terms as changed.
    """
    await connection.execute(_BEGIN_RECHECK, due, look_at)


async def delete_due(connection: Connection, due: int) -> None:
    """Delete a due move after its last pass."""
    await connection.execute(_DELETE_DUE, due)


async def delete_all_due(connection: Connection) -> None:
    """Delete all due moves."""
    await connection.execute(_DELETE_ALL_DUE)


Gap = tuple[int, datetime, datetime]
"""Meter number, start and end of a span in which its usage does not count."""


async def lock_outside_spans(
    connection: Connection, subscription: int, gaps: Sequence[Gap], since: datetime, limit: int
) -> list[AppliedUsage]:
    """Lock at most ``limit`` counted events at ``since`` or later that lie in gaps."""
    columns = [[gap[place] for gap in gaps] for place in range(3)]
    rows = await connection.fetch(_LOCK_OUTSIDE, subscription, *columns, since, limit)
    return [AppliedUsage(Target(*tuple(row)[:7]), *tuple(row)[7:]) for row in rows]


async def lock_removed(connection: Connection, subscription: str) -> list[AppliedUsage]:
    """Lock the events of a subscription that were taken out.

    Those that have left the quarantine since are not among them.
    """
    rows = await connection.fetch(_LOCK_REMOVED, subscription)
    return [AppliedUsage(Target(*tuple(row)[:7]), *tuple(row)[7:]) for row in rows]


async def mark_quarantined(connection: Connection, targets: Sequence[Target], quarantined_at: datetime | None) -> None:
    """Save that usage does not count since ``quarantined_at``; ``None``: it counts."""
    times = [one.at for one in targets]
    if times:
        digests = [one.digest for one in targets]
        await connection.execute(_MARK, digests, times, quarantined_at, min(times), max(times))


async def insert_quarantined(
    connection: Connection, taken: Sequence[RemovedUsage], now: datetime, version: int
) -> None:
    """Insert removed events into quarantine.

    Raw usage stores only the digest of an event's id, so the quarantined value has no id.
    """
    rows = [
        (
            *(USAGE.name, one.placed.partition, one.placed.offset, one.placed.received_at, now, one.reason, one.detail),
            *(one.placed.source, one.product, one.subscription, _value(one), "[]", version),
            *(one.placed.target.digest, one.placed.target.at),
        )
        for one in taken
    ]
    if rows:
        await connection.copy_records_to_table("quarantine", records=rows, columns=_QUARANTINE)


def _value(one: RemovedUsage) -> bytes:
    target = one.placed.target
    extra = json.loads(one.placed.extra) if one.placed.extra else {}
    resource = {} if target.resource is None else {"resource": target.resource}
    data = {"product": one.product, "meter": one.meter, "quantity": _quantity(target.quantity), **resource}
    document = {
        "specversion": "1.0",
        "source": one.placed.source,
        "type": UsageRecorded.event_type,
        "subject": one.subscription,
        "time": rfc3339(target.at),
        **{name: value for name, value in extra.items() if name != "data"},
        "data": {**data, **extra.get("data", {})},
    }
    return json.dumps(document, ensure_ascii=False).encode()


def _quantity(of: Decimal) -> int | str:
    return int(of) if of == of.to_integral_value() else f"{of:f}"


async def lock_purges(connection: Connection, subscription: int, since: datetime) -> list[Correction]:
    """Lock the purges of a subscription at ``since`` or later that are not reversed."""
    return [correction_of(row) for row in await connection.fetch(_LOCK_PURGES, subscription, since)]


async def place_purges(connection: Connection, placed: Sequence[tuple[int, datetime]]) -> None:
    """Save the window start of purges, given as (id, window start)."""
    await connection.execute(_PLACE_PURGES, [i for i, _ in placed], [start for _, start in placed])


async def lock_windows(connection: Connection, subscription: int, since: datetime) -> None:
    """Lock the windows of a subscription that begin at ``since`` or later."""
    await connection.execute(_LOCK_WINDOWS, subscription, since)


async def republish_windows(connection: Connection, subscription: int, since: datetime) -> None:
    """Raise the revisions of a subscription's windows, and make snapshots due.

    Only windows that begin at ``since`` or later are concerned.
    """
    await lock_windows(connection, subscription, since)
    await connection.execute(_REPUBLISH, subscription, since)


async def raise_revisions(connection: Connection, subscription: int, since: datetime) -> None:
    """Raise the revisions of windows above every one published for them before.

    Only of windows that begin at ``since`` or later.
    """
    await lock_windows(connection, subscription, since)
    await connection.execute(_RAISE_REVISIONS, subscription, since)
