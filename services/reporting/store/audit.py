"""The audit log: only ever added to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reporting.store.paging import CursorError, Page, page, read_cursor
from shared.events.envelope import Event
from shared.events.outcomes import AuditRecord, DecisionRecorded
from shared.runtime.postgres import Connection

# The only writer appends one record after the other, so that each may carry the hash of the one before it.
_LOCK = "SELECT pg_advisory_xact_lock(7236548091)"
_INSERT = """
INSERT INTO audit_log (event_id, source, at, account, subscription, actor, action, outcome, record)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (event_id) DO NOTHING
"""
_LIST = """
SELECT sequence, record FROM audit_log
WHERE ($2::bigint IS NULL OR sequence < $2)
    AND ($3::text[] IS NULL OR subscription = ANY($3))
    AND ($4::timestamptz IS NULL OR at >= $4) AND ($5::timestamptz IS NULL OR at < $5)
    AND ($6::text IS NULL OR action = $6) AND ($7::text IS NULL OR actor = $7) AND ($8::text IS NULL OR outcome = $8)
ORDER BY sequence DESC LIMIT $1
"""
MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Filter:
    """What to show of the log; ``None``: all."""

    subscriptions: Sequence[str] | None = None
    start: datetime | None = None
    end: datetime | None = None
    action: str | None = None
    actor: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """One record and its place."""

    sequence: int
    record: AuditRecord


async def insert_audit(connection: Connection, event: Event[DecisionRecorded]) -> None:
    """Add a record, unless it is there already."""
    record = event.data.record
    await connection.execute(_LOCK)
    await connection.execute(
        _INSERT,
        event.id,
        event.source,
        record.at,
        record.account,
        record.subscription,
        record.actor,
        record.action,
        record.outcome,
        record.model_dump_json(),
    )


async def list_audit(connection: Connection, limit: int, cursor: str | None, wanted: Filter) -> Page[Logged]:
    """The latest first."""
    rows = await connection.fetch(
        _LIST,
        limit + 1,
        _sequence(cursor),
        wanted.subscriptions,
        wanted.start,
        wanted.end,
        wanted.action,
        wanted.actor,
        wanted.outcome,
    )
    logged = [Logged(row["sequence"], AuditRecord.model_validate_json(row["record"])) for row in rows]
    return page(logged, limit, lambda one: (str(one.sequence),))


def _sequence(cursor: str | None) -> int | None:
    place = read_cursor(cursor, 1)
    if place is None:
        return None
    if not place[0].isascii() or not place[0].isdigit() or len(place[0]) > MAX_DIGITS:
        raise CursorError("not a cursor of this list")
    return int(place[0])
