"""Requested replays of the quarantine, and their progress."""

from dataclasses import dataclass, replace
from datetime import datetime

from shared.events.quarantine import QuarantineReplay, QuarantineWanted
from shared.runtime.postgres.pool import Connection, Row

_INSERT = """
INSERT INTO quarantine_replay (id, wanted, requested_at, requested_by, address, correlation_id, last_row)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING RETURNING number
"""
# One replay at a time, in the order of the requests; others wait behind the one that is locked.
_LOCK_NEXT = """
SELECT number, id, wanted, requested_at, requested_by, address, correlation_id, last_row, done_row, total, judged,
    applied, duplicate, finished_at, version
FROM quarantine_replay WHERE finished_at IS NULL ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_UPDATE = """
UPDATE quarantine_replay SET done_row = $2, total = $3, judged = $4, applied = $5, duplicate = $6, finished_at = $7,
    version = $8
WHERE number = $1
"""
_ANY = "SELECT EXISTS (SELECT FROM quarantine_replay WHERE finished_at IS NULL)"


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay of the records in quarantine whose id is at most ``last_row``.

    Records with ids up to ``done_row`` are done.
    """

    number: int
    id: str
    wanted: QuarantineWanted
    requested_at: datetime
    requested_by: str
    address: str | None
    correlation_id: str | None
    last_row: int
    done_row: int = 0
    total: int | None = None
    judged: int = 0
    applied: int = 0
    duplicate: int = 0
    finished_at: datetime | None = None
    version: int = 1

    def state(self) -> QuarantineReplay:
        """Return its state as it is published."""
        begun = "waiting" if self.total is None else "running"
        return QuarantineReplay(
            id=self.id,
            wanted=self.wanted,
            requested_at=self.requested_at,
            requested_by=self.requested_by,
            state="finished" if self.finished_at else begun,
            total=self.total,
            judged=self.judged,
            applied=self.applied,
            duplicate=self.duplicate,
            quarantined=self.judged - self.applied - self.duplicate,
            finished_at=self.finished_at,
            version=self.version,
        )


async def insert_replay(connection: Connection, asked: Replay) -> bool:
    """Insert a replay. Return false if one with this id exists."""
    number = await connection.fetchval(
        _INSERT,
        asked.id,
        asked.wanted.model_dump_json(exclude_none=True),
        asked.requested_at,
        asked.requested_by,
        asked.address,
        asked.correlation_id,
        asked.last_row,
    )
    return number is not None


async def is_any_unfinished(connection: Connection) -> bool:
    """Whether a replay is unfinished."""
    return bool(await connection.fetchval(_ANY))


async def lock_next(connection: Connection) -> Replay | None:
    """Lock the oldest unfinished replay that no other process has locked.

    Return ``None`` if there is none.
    """
    row: Row | None = await connection.fetchrow(_LOCK_NEXT)
    return Replay(**{**dict(row), "wanted": QuarantineWanted.model_validate_json(row["wanted"])}) if row else None


async def update_replay(connection: Connection, changed: Replay) -> Replay:
    """Save the progress of a replay as its next version. Return that version."""
    saved = replace(changed, version=changed.version + 1)
    await connection.execute(
        _UPDATE,
        saved.number,
        saved.done_row,
        saved.total,
        saved.judged,
        saved.applied,
        saved.duplicate,
        saved.finished_at,
        saved.version,
    )
    return saved
