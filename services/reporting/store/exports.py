"""Exports: the queue of the worker, and the progress of each."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from services.reporting.domain.exports import Export, ExportFile, ExportId, NewExport
from services.reporting.store.allocations import read_time
from services.reporting.store.paging import Page, page, read_cursor
from shared.events.ids import PersonId
from shared.runtime.postgres.pool import Connection, Row

_LOCK_ACCOUNT: Final = "SELECT pg_advisory_xact_lock(hashtextextended('exports of ' || $1, 0))"
_INSERT: Final = """
INSERT INTO exports (
    id, requested_by, account, covers, is_vendor, report, format, parameters, digest, as_of, names_people, state,
    requested_at, retry_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'queued', $12, $12)
"""
_FIND: Final = """
SELECT id, requested_by, account, covers, is_vendor, report, format, parameters, digest, as_of, names_people,
    requested_at, CASE WHEN state = 'succeeded' AND expires_at <= $2 THEN 'expired' ELSE state END AS state,
    started_at, finished_at, expires_at, rows_done, rows_expected, failure, file_key, file_bytes, file_sha256
FROM exports WHERE id = $1
"""
_FIND_OF_EMAIL: Final = """
SELECT id, requested_by, account, covers, is_vendor, report, format, parameters, digest, as_of, names_people,
    requested_at, CASE WHEN state = 'succeeded' AND expires_at <= $3 THEN 'expired' ELSE state END AS state,
    started_at, finished_at, expires_at, rows_done, rows_expected, failure, file_key, file_bytes, file_sha256
FROM exports WHERE id = $1 AND requested_by IN (SELECT people.id FROM people WHERE email = $2)
"""
_FIND_SAME: Final = """
SELECT id, requested_by, account, covers, is_vendor, report, format, parameters, digest, as_of, names_people,
    requested_at, state, started_at, finished_at, expires_at, rows_done, rows_expected, failure,
    file_key, file_bytes, file_sha256
FROM exports
WHERE requested_by = $1 AND digest = $2 AND requested_at > $3 AND state IN ('queued', 'running', 'succeeded')
ORDER BY requested_at DESC, id LIMIT 1
"""
_LIST_OF_EMAIL: Final = """
SELECT id, requested_by, account, covers, is_vendor, report, format, parameters, digest, as_of, names_people,
    requested_at, CASE WHEN state = 'succeeded' AND expires_at <= $6 THEN 'expired' ELSE state END AS state,
    started_at, finished_at, expires_at, rows_done, rows_expected, failure, file_key, file_bytes, file_sha256
FROM exports
WHERE requested_by IN (SELECT people.id FROM people WHERE email = $1)
    AND ($3::timestamptz IS NULL OR (requested_at, id) < ($3, $4)) AND ($5::text IS NULL OR report = $5)
ORDER BY requested_at DESC, id DESC LIMIT $2
"""
_COUNT: Final = """
SELECT count(*) FILTER (WHERE state <> 'succeeded') AS unfinished, count(*) FILTER (WHERE state = 'succeeded') AS kept
FROM exports WHERE account = $1 AND state IN ('queued', 'running', 'succeeded')
"""
_CANCEL: Final = """
UPDATE exports SET state = 'cancelled', finished_at = $2, lease = NULL
WHERE id = $1 AND state IN ('queued', 'running') RETURNING true
"""
_EXPIRE: Final = """
UPDATE exports SET state = 'expired', expires_at = $2, is_clean = false, retry_at = $2
WHERE id = $1 AND state = 'succeeded' RETURNING true
"""
_IS_REVOKED: Final = "SELECT EXISTS (SELECT FROM issuer_words WHERE email = $1 AND NOT vendor)"
_EXPIRE_OF_PERSON: Final = """
UPDATE exports SET state = 'expired', expires_at = $3, is_clean = false, retry_at = $3
WHERE state = 'succeeded'
    AND (requested_by = $1 OR (names_people AND ($2::text IS NULL OR covers IS NULL OR covers = $2)))
RETURNING true
"""
_CANCEL_OF_PERSON: Final = """
UPDATE exports SET state = 'cancelled', finished_at = $2, lease = NULL
WHERE requested_by = $1 AND state IN ('queued', 'running')
"""
_RESTART_NAMING: Final = """
WITH begun AS (
    UPDATE exports SET state = 'queued', lease = NULL, retry_at = $2, position = NULL, all_read = false, rows_done = 0
    WHERE state IN ('queued', 'running') AND names_people AND ($1::text IS NULL OR covers IS NULL OR covers = $1)
    RETURNING id
)
DELETE FROM export_parts WHERE export IN (SELECT id FROM begun)
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Exports of an account: queued and running ones, and those whose files are kept."""

    unfinished: int
    kept: int


async def lock_account(connection: Connection, account: str) -> None:
    """Lock the exports of an account until the transaction ends.

    So its limit holds.
    """
    await connection.execute(_LOCK_ACCOUNT, account)


async def insert_export(connection: Connection, new: NewExport) -> None:
    """Insert a queued export."""
    await connection.execute(
        _INSERT,
        new.id,
        new.requested_by,
        new.account,
        new.covers,
        new.is_vendor,
        new.report,
        new.format,
        json.dumps(dict(new.parameters)),
        new.digest,
        new.as_of,
        new.names_people,
        new.requested_at,
    )


async def find_export(connection: Connection, export: str, now: datetime) -> Export | None:
    """Find an export, whose ever it is."""
    row = await connection.fetchrow(_FIND, export, now)
    return None if row is None else read_export(row)


async def find_export_of(connection: Connection, export: str, email: str, now: datetime) -> Export | None:
    """Find an export of whoever has this address."""
    row = await connection.fetchrow(_FIND_OF_EMAIL, export, email, now)
    return None if row is None else read_export(row)


async def find_same(connection: Connection, person: PersonId, digest: bytes, after: datetime) -> Export | None:
    """Find the newest export of the same request that is not failed or cancelled."""
    row = await connection.fetchrow(_FIND_SAME, person, digest, after)
    return None if row is None else read_export(row)


async def list_exports_of(
    connection: Connection, email: str, limit: int, cursor: str | None, *, now: datetime, report: str | None = None
) -> Page[Export]:
    """List the exports of whoever has this address, newest first."""
    place: list[Any] = [*(read_cursor(cursor, 2) or (None, None))]
    if place[0] is not None:
        place[0] = read_time(place[0])
    rows = await connection.fetch(_LIST_OF_EMAIL, email, limit + 1, *place, report, now)
    return page(rows, limit, read_export, lambda row: (row["requested_at"].isoformat(), row["id"]), "exports")


async def count_exports(connection: Connection, account: str) -> Counts:
    """Count the exports of an account that its limits concern."""
    row = await connection.fetchrow(_COUNT, account)
    return Counts(row["unfinished"], row["kept"]) if row else Counts(0, 0)


async def cancel_export(connection: Connection, export: ExportId, now: datetime) -> bool:
    """Cancel a queued or running export; return whether it was one."""
    return bool(await connection.fetchval(_CANCEL, export, now))


async def expire_export(connection: Connection, export: ExportId, now: datetime) -> bool:
    """Expire an export that has succeeded; return whether it was one."""
    return bool(await connection.fetchval(_EXPIRE, export, now))


async def is_revoked_operator(connection: Connection, email: str) -> bool:
    """Whether the issuer's newest assertion is that a person is no vendor operator."""
    return bool(await connection.fetchval(_IS_REVOKED, email))


async def end_exports_of(connection: Connection, person: PersonId, account: str | None, now: datetime) -> int:
    """End the exports of an erased person; restart those that may name them.

    Files that may name them are expired: those that may have rows of their account; all, for a person without an
    account (``None``). Return how many files.
    """
    await connection.execute(_CANCEL_OF_PERSON, person, now)
    await connection.execute(_RESTART_NAMING, account, now)
    return len(await connection.fetch(_EXPIRE_OF_PERSON, person, account, now))


def read_export(row: Row) -> Export:
    """Read an export from its columns."""
    key = row["file_key"]
    file = None if key is None else ExportFile(key, row["file_bytes"], row["file_sha256"])
    return Export(
        id=row["id"],
        requested_by=row["requested_by"],
        account=row["account"],
        covers=row["covers"],
        is_vendor=row["is_vendor"],
        report=row["report"],
        format=row["format"],
        parameters=json.loads(row["parameters"]),
        digest=row["digest"],
        as_of=row["as_of"],
        names_people=row["names_people"],
        state=row["state"],
        requested_at=row["requested_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        expires_at=row["expires_at"],
        rows_done=row["rows_done"],
        rows_expected=row["rows_expected"],
        failure=row["failure"],
        file=file,
    )
