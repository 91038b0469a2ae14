"""Usage that was placed before it was known where it counts: which is due to be moved, and its marks."""

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

_NOTE = """
INSERT INTO move_due (subscription, since, lost, terms, windows, look_at)
SELECT number, $2, $3, $4, $5, $6 FROM subscription WHERE id = $1
"""
_NOTE_SOME = """
INSERT INTO move_due (subscription, since, lost, terms, windows, look_at)
SELECT k.subscription, k.since, true, k.windows, k.windows, $4
FROM unnest($1::integer[], $2::timestamptz[], $3::boolean[]) AS k (subscription, since, windows)
"""
_LOCK_NEXT = """
SELECT id, subscription, since, lost, terms, windows, looks_from FROM move_due
WHERE look_at <= $1 ORDER BY look_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_POSTPONE = "UPDATE move_due SET look_at = $2 WHERE id = $1"
_LOOK_FROM_HERE = (
    "UPDATE move_due SET looks_from = pg_current_xact_id()::text::bigint, look_at = $2, terms = false WHERE id = $1"
)
_ALL_DONE = "DELETE FROM move_due"
_DONE = "DELETE FROM move_due WHERE id = $1"
# What counts, and lies where nothing counts. OFFSET 0: each gap is a range of the days' partitions.
_LOCK_OUTSIDE = f"""
SELECT u.digest, u.at, u.subscription, u.meter, u.quantity, u.resource, u.reversed_at, u.received_at, u.kafka_partition,
       u.kafka_offset, u.extra, source.id AS source
FROM unnest($2::integer[], $3::timestamptz[], $4::timestamptz[]) AS gap (meter, since, until)
JOIN usage u ON u.subscription = $1 AND u.meter = gap.meter AND u.at >= gap.since AND u.at < gap.until
JOIN source ON source.number = u.source
WHERE u.at >= $5 AND u.meter <> {NO_METER} AND u.quarantined_at IS NULL
ORDER BY u.digest, u.at LIMIT $6 FOR UPDATE OF u
"""  # noqa: S608
# What was taken out before, with its row in quarantine.
_LOCK_TAKEN_OUT = """
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
_TELL_AGAIN = """
WITH told AS (
    UPDATE meter_window SET revision = revision + 1 WHERE subscription = $1 AND window_start >= $2
    RETURNING subscription, meter, window_start
)
INSERT INTO snapshot_due (subscriptions, meters, windows)
SELECT array_agg(subscription), array_agg(meter), array_agg(window_start) FROM told HAVING count(*) > 0
"""
# A window may count fewer others than before, whose revisions were in its own.
_RAISE = """
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
class Due:
    """A subscription of which something is to be moved; see the table."""

    id: int
    subscription: int
    since: datetime
    lost: bool
    terms: bool
    windows: bool
    looks_from: int | None


@dataclass(frozen=True, slots=True)
class Placed:
    """An applied event, and how it came. ``row``: its row in quarantine, where it was taken out before."""

    target: Target
    received_at: datetime
    partition: int
    offset: int
    extra: str | None
    source: str
    row: int | None = None


@dataclass(frozen=True, slots=True)
class TakenOut:
    """An applied event that does not count, and why; ``subscription``, ``product`` and ``meter`` are ids."""

    placed: Placed
    subscription: str
    product: str
    meter: str
    reason: Reason
    detail: str


class Misplaced(NamedTuple):
    """A subscription (its number) of which something is placed wrongly since then; ``windows``: in another window."""

    subscription: int
    since: datetime
    windows: bool


async def note(connection: Connection, subscription: str, since: datetime, changed: Change, now: datetime) -> None:
    """Have what was placed of a subscription since then looked at."""
    await connection.execute(_NOTE, subscription, since, changed.lost, changed.terms, changed.windows, now)


async def note_some(connection: Connection, misplaced: Sequence[Misplaced], now: datetime) -> None:
    """Have what was placed by older knowledge looked at."""
    if misplaced:
        columns = [[one[place] for one in misplaced] for place in range(3)]
        await connection.execute(_NOTE_SOME, *columns, now)


async def lock_next(connection: Connection, now: datetime) -> Due | None:
    """One that is due; nobody else takes it meanwhile."""
    row = await connection.fetchrow(_LOCK_NEXT, now)
    return Due(*row) if row else None


async def postpone(connection: Connection, due: int, until: datetime) -> None:
    """Look at it again then."""
    await connection.execute(_POSTPONE, due, until)


async def look_from_here(connection: Connection, due: int, look_at: datetime) -> None:
    """What begins after this transaction places by what is known now."""
    await connection.execute(_LOOK_FROM_HERE, due, look_at)


async def done(connection: Connection, due: int) -> None:
    """Nobody is left who could place otherwise."""
    await connection.execute(_DONE, due)


async def all_done(connection: Connection) -> None:
    """Everything is where it belongs."""
    await connection.execute(_ALL_DONE)


Gap = tuple[int, datetime, datetime]
"""A meter's number; since when, and until when, its usage does not count."""


async def lock_outside(
    connection: Connection, subscription: int, gaps: Sequence[Gap], since: datetime, limit: int
) -> list[Placed]:
    """Usage that counts and should not."""
    columns = [[gap[place] for gap in gaps] for place in range(3)]
    rows = await connection.fetch(_LOCK_OUTSIDE, subscription, *columns, since, limit)
    return [Placed(Target(*tuple(row)[:7]), *tuple(row)[7:]) for row in rows]


async def lock_taken_out(connection: Connection, subscription: str) -> list[Placed]:
    """Usage that was taken out, and may count by now."""
    rows = await connection.fetch(_LOCK_TAKEN_OUT, subscription)
    return [Placed(Target(*tuple(row)[:7]), *tuple(row)[7:]) for row in rows]


async def mark(connection: Connection, targets: Sequence[Target], quarantined_at: datetime | None) -> None:
    """Usage does not count since then; ``None``: it does."""
    times = [one.at for one in targets]
    if times:
        digests = [one.digest for one in targets]
        await connection.execute(_MARK, digests, times, quarantined_at, min(times), max(times))


async def quarantine(connection: Connection, taken: Sequence[TakenOut], now: datetime, version: int) -> None:
    """Have what was taken out in quarantine. Its id is not kept beside its digest, so the value lacks that."""
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


def _value(one: TakenOut) -> bytes:
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
    """Purges that hold, of that time and later."""
    return [correction_of(row) for row in await connection.fetch(_LOCK_PURGES, subscription, since)]


async def place_purges(connection: Connection, placed: Sequence[tuple[int, datetime]]) -> None:
    """Purges act in these windows."""
    await connection.execute(_PLACE_PURGES, [i for i, _ in placed], [start for _, start in placed])


async def lock_windows(connection: Connection, subscription: int, since: datetime) -> None:
    """Nobody else changes windows that begin then or later."""
    await connection.execute(_LOCK_WINDOWS, subscription, since)


async def tell_again(connection: Connection, subscription: int, since: datetime) -> None:
    """Have windows that begin then or later told again: they may end elsewhere."""
    await lock_windows(connection, subscription, since)
    await connection.execute(_TELL_AGAIN, subscription, since)


async def raise_revisions(connection: Connection, subscription: int, since: datetime) -> None:
    """Have the revisions of windows grow, whatever they count from now on."""
    await lock_windows(connection, subscription, since)
    await connection.execute(_RAISE, subscription, since)
