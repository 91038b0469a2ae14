"""The audit log, which is append-only.

The service may write it only through its owner's function ``append_audit`` (migration 0004).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reporting.store.paging import CursorError, Page, page, read_cursor
from shared.events.envelope import Event
from shared.events.outcomes import AuditRecord, DecisionRecorded
from shared.runtime.postgres.pool import Connection, Row

_APPEND = "SELECT append_audit($1::text[], $2::text[], $3::text[])"
_LIST = """
SELECT sequence, record FROM audit_log
WHERE ($2::bigint IS NULL OR sequence < $2)
    AND ($3::text[] IS NULL OR subscription = ANY($3) OR (
        subscription IS NULL AND account = ANY($9::text[]) AND record ->> 'object' <> ALL($10::text[])
    ))
    AND ($4::timestamptz IS NULL OR at >= $4) AND ($5::timestamptz IS NULL OR at < $5)
    AND ($7::text IS NULL OR actor = ANY($7 || ARRAY(SELECT id FROM people WHERE email = $7)))
    AND ($6::text IS NULL OR action = $6) AND ($8::text IS NULL OR outcome = $8)
ORDER BY sequence DESC LIMIT $1
"""
MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Filter:
    """The records to list; ``None``: no restriction.

    ``actor``: somebody's address, or a part of the system. With ``subscriptions``: records about one of them, and
    records about people and roles of ``accounts`` except those about ``hidden_objects``.
    """

    subscriptions: Sequence[str] | None = None
    start: datetime | None = None
    end: datetime | None = None
    action: str | None = None
    actor: str | None = None
    outcome: str | None = None
    accounts: Sequence[str] = ()
    hidden_objects: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """A record and its sequence number in the log."""

    sequence: int
    record: AuditRecord


async def insert_audit(connection: Connection, *events: Event[DecisionRecorded]) -> None:
    """Append records to their accounts' chains, in order; skip those already stored.

    Transactions whose accounts overlap wait for each other. Pass all events of a transaction at once: the chains are
    locked in one order, which excludes deadlocks.
    """
    if events:
        await connection.execute(
            _APPEND,
            [event.id for event in events],
            [event.source for event in events],
            [event.data.record.model_dump_json() for event in events],
        )


async def list_audit(connection: Connection, limit: int, cursor: str | None, wanted: Filter) -> Page[LoggedRecord]:
    """List records, newest first."""
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
        wanted.accounts,
        wanted.hidden_objects,
    )
    return page(rows, limit, _logged, lambda row: (str(row["sequence"]),), "audit_log")


def _logged(row: Row) -> LoggedRecord:
    return LoggedRecord(row["sequence"], AuditRecord.model_validate_json(row["record"]))


def _sequence(cursor: str | None) -> int | None:
    place = read_cursor(cursor, 1)
    if place is None:
        return None
    if not place[0].isascii() or not place[0].isdigit() or len(place[0]) > MAX_DIGITS:
        raise CursorError("not a cursor of this list")
    return int(place[0])
