"""The worker's side of exports: claims, parts, ends, and files to delete.

Each change of a claimed export needs its lease, so that a worker whose lease has ended changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from services.reporting.domain.exports import Claimed, ExportFile, ExportId, Part
from services.reporting.store.exports import read_export
from shared.runtime.postgres.pool import Connection

# Claims are made one after the other, so that two workers cannot exceed a person's limit together.
_LOCK_CLAIMS: Final = "SELECT pg_advisory_xact_lock(hashtextextended('claims of exports', 0))"
# Who has fewest exports in work is served first, and then who was served longest ago: people take turns, however many
# exports each has.
_CLAIM: Final = """
WITH requesters AS (
    SELECT requested_by, count(*) FILTER (WHERE state = 'running') AS running,
        count(*) FILTER (WHERE lease IS NOT NULL AND leased_until > $1) AS in_work,
        (SELECT max(served_at) FROM exports AS o WHERE o.requested_by = e.requested_by) AS served_at
    FROM exports AS e WHERE state IN ('queued', 'running') GROUP BY requested_by
),
chosen AS (
    SELECT e.id FROM exports AS e JOIN requesters AS r ON r.requested_by = e.requested_by
    WHERE e.retry_at <= $1 AND (
        (e.state = 'queued' AND r.running < $2)
        OR (e.state = 'running' AND (e.lease IS NULL OR e.leased_until <= $1))
    )
    ORDER BY r.in_work, r.served_at NULLS FIRST, e.requested_at, e.id
    LIMIT 1 FOR UPDATE OF e SKIP LOCKED
)
UPDATE exports AS e SET state = 'running', lease = $3, leased_by = $4, leased_until = $5, served_at = $1,
    started_at = coalesce(started_at, $1), attempts = attempts + 1, is_clean = false
FROM chosen WHERE e.id = chosen.id
RETURNING e.*
"""
_PARTS: Final = "SELECT number, key, rows FROM export_parts WHERE export = $1 ORDER BY number"
_EXTEND: Final = """
UPDATE exports SET leased_until = $3 WHERE id = $1 AND lease = $2 AND state = 'running' RETURNING true
"""
_EXPECT: Final = """
UPDATE exports SET rows_expected = $3 WHERE id = $1 AND lease = $2 AND state = 'running' RETURNING true
"""
_ADD_PART: Final = """
WITH done AS (
    UPDATE exports SET position = $3, all_read = $4, rows_done = rows_done + $7, attempts = 0, leased_until = $8
    WHERE id = $1 AND lease = $2 AND state = 'running' RETURNING id
)
INSERT INTO export_parts (export, number, key, rows) SELECT id, $5, $6, $7 FROM done RETURNING true
"""
_RELEASE: Final = """
UPDATE exports SET lease = NULL, leased_until = NULL, attempts = greatest(0, attempts - 1)
WHERE id = $1 AND lease = $2 AND state = 'running' RETURNING true
"""
_SUCCEED: Final = """
UPDATE exports SET state = 'succeeded', finished_at = $3, expires_at = $4, file_key = $5, file_bytes = $6,
    file_sha256 = $7, rows_expected = rows_done, lease = NULL, leased_until = NULL, retry_at = $3
WHERE id = $1 AND lease = $2 AND state = 'running' RETURNING true
"""
# A part that was saved has set the attempts to 0; this one failed after it.
_COUNT_FAILURE: Final = """
UPDATE exports SET attempts = greatest(attempts, 1)
WHERE id = $1 AND lease = $2 AND state = 'running' RETURNING attempts
"""
_RETRY: Final = """
UPDATE exports SET state = 'queued', retry_at = $3, lease = NULL, leased_until = NULL
WHERE id = $1 AND lease = $2 AND state = 'running' RETURNING true
"""
_FAIL: Final = """
UPDATE exports SET state = 'failed', finished_at = $3, failure = $4, lease = NULL, leased_until = NULL, retry_at = $3
WHERE id = $1 AND lease = $2 AND state = 'running' RETURNING true
"""
_COUNT_WAITING: Final = """
SELECT count(*) FROM exports
WHERE state = 'queued' OR (state = 'running' AND (lease IS NULL OR leased_until <= $1))
"""
_EXPIRE_DUE: Final = """
UPDATE exports SET state = 'expired', is_clean = false, retry_at = $1
WHERE state = 'succeeded' AND expires_at <= $1 RETURNING true
"""
# A worker may write until its lease ends, even if the export was cancelled before.
_FIND_UNCLEAN: Final = """
SELECT id, CASE WHEN state = 'succeeded' THEN file_key END AS kept FROM exports
WHERE NOT is_clean AND state NOT IN ('queued', 'running') AND retry_at <= $1
    AND (leased_until IS NULL OR leased_until <= $1)
ORDER BY retry_at, id LIMIT $2
"""
_MARK_CLEAN: Final = "UPDATE exports SET is_clean = true WHERE id = $1 AND state NOT IN ('queued', 'running')"
_POSTPONE_CLEANING: Final = "UPDATE exports SET retry_at = $2 WHERE id = $1 AND state NOT IN ('queued', 'running')"
_DELETE_OLD: Final = """
DELETE FROM exports WHERE requested_at < $1 AND is_clean AND state IN ('failed', 'cancelled', 'expired')
"""


@dataclass(frozen=True, slots=True)
class Leftover:
    """An export with files to delete: all but ``kept``."""

    export: ExportId
    kept: str | None


async def claim_export(
    connection: Connection, lease: UUID, worker: str, *, now: datetime, until: datetime, running_max: int
) -> Claimed | None:
    """Claim the next export, in a transaction; ``None``: there is none to work on.

    ``worker``: a name for the logs. ``running_max``: most running exports of one person.
    """
    await connection.execute(_LOCK_CLAIMS)
    row = await connection.fetchrow(_CLAIM, now, running_max, lease, worker, until)
    if row is None:
        return None
    parts = await connection.fetch(_PARTS, row["id"])
    return Claimed(
        export=read_export(row),
        lease=lease,
        attempts=row["attempts"],
        position=row["position"],
        all_read=row["all_read"],
        parts=tuple(Part(one["number"], one["key"], one["rows"]) for one in parts),
    )


async def extend_lease(connection: Connection, claimed: Claimed, until: datetime) -> bool:
    """Extend a lease; return whether it is still in force."""
    return bool(await connection.fetchval(_EXTEND, claimed.export.id, claimed.lease, until))


async def set_expected(connection: Connection, claimed: Claimed, rows: int) -> bool:
    """Save the expected number of rows; return whether the lease is in force."""
    return bool(await connection.fetchval(_EXPECT, claimed.export.id, claimed.lease, rows))


async def add_part(connection: Connection, claimed: Claimed, part: Part, position: str | None, until: datetime) -> bool:
    """Save a part that is stored, with the position after it (``None``: all is read).

    The lease is extended. Return whether it is in force; else nothing is saved.
    """
    values = position, position is None, part.number, part.key, part.rows, until
    return bool(await connection.fetchval(_ADD_PART, claimed.export.id, claimed.lease, *values))


async def release_export(connection: Connection, claimed: Claimed) -> bool:
    """End a lease early, so that any worker may go on; the attempt is not counted."""
    return bool(await connection.fetchval(_RELEASE, claimed.export.id, claimed.lease))


async def finish_export(
    connection: Connection, claimed: Claimed, file: ExportFile, now: datetime, expires_at: datetime
) -> bool:
    """Save that the file is stored; return whether the lease is in force."""
    values = now, expires_at, file.key, file.bytes, file.sha256
    return bool(await connection.fetchval(_SUCCEED, claimed.export.id, claimed.lease, *values))


async def count_failure(connection: Connection, claimed: Claimed) -> int | None:
    """Return how many attempts have failed since the last part, with this one.

    ``None``: the lease is lost.
    """
    attempts: int | None = await connection.fetchval(_COUNT_FAILURE, claimed.export.id, claimed.lease)
    return attempts


async def retry_export(connection: Connection, claimed: Claimed, retry_at: datetime) -> bool:
    """Queue an export again after a failure; return whether the lease was in force."""
    return bool(await connection.fetchval(_RETRY, claimed.export.id, claimed.lease, retry_at))


async def fail_export(connection: Connection, claimed: Claimed, message: str, now: datetime) -> bool:
    """Save that an export has failed; return whether the lease was in force."""
    return bool(await connection.fetchval(_FAIL, claimed.export.id, claimed.lease, now, message))


async def count_waiting(connection: Connection, now: datetime) -> int:
    """Count the exports that wait for a worker."""
    return int(await connection.fetchval(_COUNT_WAITING, now))


async def expire_due(connection: Connection, now: datetime) -> int:
    """Expire exports whose time is over; return how many."""
    return len(await connection.fetch(_EXPIRE_DUE, now))


async def find_unclean(connection: Connection, now: datetime, limit: int) -> Sequence[Leftover]:
    """Find exports that ended and have files to delete."""
    return [Leftover(row["id"], row["kept"]) for row in await connection.fetch(_FIND_UNCLEAN, now, limit)]


async def mark_clean(connection: Connection, export: ExportId) -> None:
    """Save that the files to delete are deleted."""
    await connection.execute(_MARK_CLEAN, export)


async def postpone_cleaning(connection: Connection, export: ExportId, until: datetime) -> None:
    """Save when to try again to delete the files of an export."""
    await connection.execute(_POSTPONE_CLEANING, export, until)


async def delete_old_exports(connection: Connection, before: datetime) -> None:
    """Delete exports without files that were requested before this time."""
    await connection.execute(_DELETE_OLD, before)
