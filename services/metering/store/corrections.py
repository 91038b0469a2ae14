"""Recorded corrections: which are due, and their outcomes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.metering.domain.corrections import NO_METER, Reversed
from services.metering.domain.judgement import instant
from services.metering.domain.placement import Usage, digest_of
from shared.runtime.delivery.headers import headers_from_json, headers_to_json
from shared.runtime.postgres.pool import Connection, Row
from shared.runtime.records import Record

_COLUMNS = (
    *("at", "received_at", "kafka_offset", "look_at", "window_start", "digest", "target", "subscription", "meter"),
    *(
        "kafka_partition",
        "kind",
        "target_name",
        "topic",
        "source",
        "product",
        "event_id",
        "resource",
        "reason",
        "key",
        "value",
    ),
    "headers",
)

# New corrections, those whose target was stored since, and those due for a recheck. Rows locked by others are skipped.
_LOCK_DUE = """
SELECT * FROM correction
WHERE id IN (
    (SELECT id FROM correction WHERE look_at <= $1 ORDER BY look_at LIMIT $2)
    UNION ALL
    (SELECT correction FROM correction_woken LIMIT $2)
) AND look_at IS NOT NULL
ORDER BY id FOR UPDATE SKIP LOCKED
"""
_DELETE_WOKEN = "DELETE FROM correction_woken WHERE correction = ANY ($1)"
_DELETE_NEEDLESS_WOKEN = """
DELETE FROM correction_woken w
WHERE NOT EXISTS (SELECT FROM correction c WHERE c.id = w.correction AND c.look_at IS NOT NULL)
"""
_FIND_TARGETS = """
SELECT u.digest, u.at, u.subscription, u.meter, u.quantity, u.resource, u.reversed_at
FROM unnest($1::uuid[]) AS wanted (digest) JOIN usage u USING (digest)
ORDER BY u.digest, u.at DESC
"""
_FIND_CORRECTIONS = """
SELECT c.* FROM unnest($1::uuid[], $2::timestamptz[]) AS wanted (digest, at) JOIN correction c USING (digest, at)
"""
_POSTPONE = """
UPDATE correction c SET look_at = later.look_at
FROM unnest($1::bigint[], $2::timestamptz[]) AS later (id, look_at) WHERE c.id = later.id
"""
_SETTLE = """
UPDATE correction c SET settled_at = $2, settled_as = s.outcome, look_at = s.look_at, meter = s.meter,
    window_start = s.window_start, resource = s.resource, target_at = s.target_at
FROM unnest($1::bigint[], $3::text[], $4::timestamptz[], $5::integer[], $6::timestamptz[], $7::text[],
            $8::timestamptz[]) AS s (id, outcome, look_at, meter, window_start, resource, target_at)
WHERE c.id = s.id
"""
_REVERSE_PURGES = "UPDATE correction SET reversed_at = $2 WHERE id = ANY ($1) AND reversed_at IS NULL RETURNING id"
_LOAD_OLDEST_RUNNING = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_BEGIN_RECHECK = (
    "UPDATE correction SET looks_from = pg_current_xact_id()::text::bigint, look_at = $2 WHERE id = ANY ($1)"
)
_FINISH_RECHECK = "UPDATE correction SET look_at = NULL, looks_from = NULL WHERE id = ANY ($1)"
_DELETE_IDENTITIES = f"""
DELETE FROM usage u USING unnest($1::uuid[], $2::timestamptz[]) AS gone (digest, at)
WHERE u.digest = gone.digest AND u.at = gone.at AND u.meter = {NO_METER}
"""  # noqa: S608
_DELETE_MIDNIGHTS = """
DELETE FROM usage_midnight m USING unnest($1::uuid[], $2::timestamptz[]) AS gone (digest, at)
WHERE m.digest = gone.digest AND m.midnight BETWEEN gone.at - interval '1 hour' AND gone.at + interval '1 hour'
"""
_DELETE = "DELETE FROM correction WHERE id = ANY ($1)"
_DELETE_OLD = "DELETE FROM correction WHERE at < $1 AND look_at IS NULL"


@dataclass(frozen=True, slots=True)
class Correction:
    """A recorded correction, with its outcome once it is settled.

    ``meter``, ``window_start`` and ``resource`` say what it changes, where that is known. ``target`` is the digest of
    the event that a reversal names. ``looks_from`` is the number of a transaction: the recheck is made once this
    transaction and all before it have ended. With ``None`` no recheck has begun.
    """

    id: int
    kind: int
    at: datetime
    received_at: datetime
    digest: UUID
    target: UUID | None
    target_name: str | None
    subscription: int
    product: str
    source: str
    event_id: str
    meter: int | None
    window_start: datetime | None
    resource: str | None
    reason: str | None
    settled_at: datetime | None
    settled_as: str | None
    reversed_at: datetime | None
    looks_from: int | None
    record: Record


@dataclass(frozen=True, slots=True)
class Target:
    """The stored event that a reversal names."""

    digest: UUID
    at: datetime
    subscription: int
    meter: int
    quantity: Decimal
    resource: str | None
    reversed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of a correction, and what it changed.

    ``look_at`` is when to recheck what it changed; with ``None`` it is not rechecked.
    """

    id: int
    outcome: str
    look_at: datetime | None = None
    meter: int | None = None
    window_start: datetime | None = None
    resource: str | None = None
    target_at: datetime | None = None


async def insert_corrections(
    connection: Connection, placed: Iterable[tuple[Usage, Record]], meters: Mapping[tuple[str, str], int], now: datetime
) -> None:
    """Insert corrections, each due at once.

    The caller passes only those whose identity is new. ``meters`` gives the meter number by (product id, meter id).
    """
    rows = [_row(usage, record, meters, now) for usage, record in placed]
    if rows:
        await connection.copy_records_to_table("correction", records=rows, columns=_COLUMNS)


def _row(usage: Usage, record: Record, meters: Mapping[tuple[str, str], int], now: datetime) -> tuple[object, ...]:
    event = usage.correction
    assert event is not None  # noqa: S101  # placed as a correction
    data = event.data
    target, target_name, meter, resource, reason = None, None, None, None, None
    if isinstance(data, Reversed):
        target, reason = UUID(bytes=digest_of(data.source, data.id)), data.reason
        target_name = f"{data.source}/{data.id}"
    else:
        meter, resource = meters[data.product, data.meter], data.resource
    headers = headers_to_json(record.headers, "hex")
    return (
        *(instant(usage.at_us), record.appended_at, record.offset, now),
        None if target else instant(usage.window_us),
        *(UUID(bytes=usage.digest), target, usage.subscription, meter, record.partition, usage.kind, target_name),
        *(record.topic, usage.source, usage.product, event.id, resource, reason, record.key, record.value, headers),
    )


async def lock_due(connection: Connection, now: datetime, limit: int) -> list[Correction]:
    """Lock at most ``limit`` due corrections, in order of their id.

    Those locked by others are skipped.
    """
    rows = await connection.fetch(_LOCK_DUE, now, limit)
    if rows:
        await connection.execute(_DELETE_WOKEN, [row["id"] for row in rows])
    return [correction_of(row) for row in rows]


async def delete_woken(connection: Connection) -> None:
    """Delete rows of ``correction_woken`` whose correction needs no check any more."""
    await connection.execute(_DELETE_NEEDLESS_WOKEN)


def correction_of(row: Row) -> Correction:
    """Convert a row of the table."""
    headers = headers_from_json(row["headers"], "hex")
    record = Record(
        *(row["topic"], row["kafka_partition"], row["kafka_offset"], row["key"], row["value"]),
        headers,
        row["received_at"],
    )
    names = Correction.__dataclass_fields__.keys() - {"record"}
    return Correction(**{name: row[name] for name in names}, record=record)


async def find_targets(connection: Connection, digests: Sequence[UUID]) -> dict[UUID, Target]:
    """Find the stored events with these identities. Return them by identity.

    Where several events are stored under one identity, the latest is returned.
    """
    found: dict[UUID, Target] = {}
    for row in await connection.fetch(_FIND_TARGETS, digests):
        found.setdefault(row["digest"], Target(*row))
    return found


async def find_corrections(
    connection: Connection, identities: Sequence[tuple[UUID, datetime]]
) -> dict[UUID, Correction]:
    """Find corrections by their own identity (digest, time)."""
    rows = await connection.fetch(_FIND_CORRECTIONS, [digest for digest, _ in identities], [at for _, at in identities])
    return {row["digest"]: correction_of(row) for row in rows}


async def postpone(connection: Connection, later: Sequence[tuple[int, datetime]]) -> None:
    """Have corrections, given by id, due at the given times."""
    await connection.execute(_POSTPONE, [i for i, _ in later], [at for _, at in later])


async def settle(connection: Connection, settled: Sequence[Settlement], now: datetime) -> None:
    """Save the outcomes of corrections."""
    columns = [
        [getattr(one, name) for one in settled]
        for name in ("outcome", "look_at", "meter", "window_start", "resource", "target_at")
    ]
    await connection.execute(_SETTLE, [one.id for one in settled], now, *columns)


async def reverse_purges(connection: Connection, ids: Sequence[int], now: datetime) -> set[int]:
    """Mark purges as reversed. Return the ids of those that were not before."""
    return {row["id"] for row in await connection.fetch(_REVERSE_PURGES, sorted(ids), now)}


async def load_oldest_running(connection: Connection) -> int:
    """Load the number of the oldest running transaction: every lower one has ended."""
    return int(await connection.fetchval(_LOAD_OLDEST_RUNNING))


async def begin_recheck(connection: Connection, ids: Sequence[int], look_at: datetime) -> None:
    """Begin the recheck of corrections: save this transaction's number.

    Transactions that begin after this one has ended see the effects of these corrections. The recheck is due at
    ``look_at``.
    """
    await connection.execute(_BEGIN_RECHECK, ids, look_at)


async def finish_recheck(connection: Connection, ids: Sequence[int]) -> None:
    """Mark corrections as needing no further recheck."""
    await connection.execute(_FINISH_RECHECK, ids)


async def delete_corrections(connection: Connection, corrections: Sequence[Correction]) -> None:
    """Delete corrections that go into quarantine, with their identities.

    A replay can then apply them.
    """
    identities = [one.digest for one in corrections], [one.at for one in corrections]
    await connection.execute(_DELETE_IDENTITIES, *identities)
    await connection.execute(_DELETE_MIDNIGHTS, *identities)
    await connection.execute(_DELETE, [one.id for one in corrections])


async def delete_old(connection: Connection, before: datetime) -> int:
    """Delete finished corrections whose raw usage is deleted. Return how many."""
    return int((await connection.execute(_DELETE_OLD, before)).split()[-1])
