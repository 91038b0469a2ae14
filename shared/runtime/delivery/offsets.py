"""Stored offsets: the next offset of each partition, in the database.

They alone say what was applied.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shared.runtime.delivery import outbox
from shared.runtime.postgres.pool import Connection, Pool
from shared.runtime.records import Outgoing


class Moved(NamedTuple):
    """New next offsets of ``reader`` in ``topic``, by partition."""

    reader: str
    topic: str
    nexts: Mapping[int, int]


class Stored(NamedTuple):
    """A reader's next offset in one partition, with the topic's id.

    It is the id of the topic to which the offset belongs.
    """

    next_offset: int
    topic_id: UUID | None


class Loss(NamedTuple):
    """Offsets that a reader will never read.

    They go from ``first_offset`` up to, not including, ``next_offset``.
    ``reason``: ``expired`` (Kafka deleted them first) or ``skipped`` (by an operator). Some may be markers of
    transactions, so fewer records may be lost.
    """

    partition: int
    first_offset: int
    next_offset: int
    reason: str

    @property
    def records(self) -> int:
        """How many records are lost at most."""
        return self.next_offset - self.first_offset


_LOAD = "SELECT partition, next_offset, topic_id FROM consumer_offsets WHERE reader = $1 AND topic = $2"
_PLACE = """
INSERT INTO consumer_offsets AS kept (reader, topic, partition, next_offset, topic_id)
SELECT $1, $2, partition, next_offset, $3 FROM unnest($4::int[], $5::bigint[]) AS new (partition, next_offset)
ORDER BY partition
ON CONFLICT (reader, topic, partition) DO UPDATE SET
    topic_id = excluded.topic_id,
    next_offset = CASE WHEN kept.next_offset = 0 THEN excluded.next_offset ELSE kept.next_offset END
WHERE kept.topic_id IS NULL
"""
_SKIP = """
UPDATE consumer_offsets SET next_offset = $5, updated_at = now()
WHERE reader = $1 AND topic = $2 AND partition = $3 AND next_offset = $4
"""
_LOSE = """
INSERT INTO lost_records (reader, topic, partition, first_offset, next_offset, reason) VALUES ($1, $2, $3, $4, $5, $6)
"""
_LOST = """
SELECT reason, sum(next_offset - first_offset)::bigint AS records, max(noticed_at) AS last
FROM lost_records WHERE reader = $1 AND topic = $2 GROUP BY reason
"""
_LOCK = """
SELECT partition, next_offset,
    EXISTS (SELECT FROM set_aside_keys WHERE reader = $1 AND topic = $2) AS some_are_set_aside
FROM consumer_offsets
WHERE reader = $1 AND topic = $2 AND partition = ANY($3::int[])
ORDER BY partition
FOR UPDATE
"""
_INSERT = """
INSERT INTO consumer_offsets (reader, topic, partition, next_offset)
SELECT $1, $2, partition, 0 FROM unnest($3::int[]) AS new (partition) ORDER BY partition
ON CONFLICT DO NOTHING
"""
_RESTART = """
UPDATE consumer_offsets SET next_offset = 0, topic_id = NULL, updated_at = now() WHERE reader = $1 AND topic = $2
"""
_SET_BACK = """
UPDATE consumer_offsets SET next_offset = 0, topic_id = NULL, updated_at = now() WHERE topic = ANY($1::text[])
"""


async def load(pool: Pool, reader: str, topic: str) -> dict[int, int]:
    """Load the next offset of each partition."""
    return {partition: stored.next_offset for partition, stored in (await load_stored(pool, reader, topic)).items()}


async def load_stored(pool: Pool, reader: str, topic: str) -> dict[int, Stored]:
    """Load offsets and topic ids, by partition."""
    rows = await pool.fetch(_LOAD, reader, topic)
    return {row["partition"]: Stored(row["next_offset"], row["topic_id"]) for row in rows}


async def place(connection: Connection, reader: str, topic: str, topic_id: UUID, begins: Mapping[int, int]) -> None:
    """Store where new partitions begin, and the topic's id where it is missing.

    A partition that is new, or was set back, gets its offset in ``begins``; others keep theirs.
    """
    await connection.execute(_PLACE, reader, topic, topic_id, list(begins), list(begins.values()))


async def skip(connection: Connection, reader: str, topic: str, partition: int, *, stored: int, to: int) -> bool:
    """Move an offset from ``stored`` to ``to`` without applying records.

    Returns whether it was still ``stored``.
    """
    done: str = await connection.execute(_SKIP, reader, topic, partition, stored, to)
    return done == "UPDATE 1"


async def lose(connection: Connection, reader: str, topic: str, loss: Loss) -> bool:
    """Move an offset past a loss, and record the loss.

    Returns whether the offset was still at the beginning of the loss.
    """
    moved = await skip(connection, reader, topic, loss.partition, stored=loss.first_offset, to=loss.next_offset)
    if moved:
        await connection.execute(_LOSE, reader, topic, *loss)
    return moved


async def restart(connection: Connection, reader: str, topic: str) -> None:
    """Set a reader back to the beginning of the topic that has this name now."""
    await connection.execute(_RESTART, reader, topic)


async def lost(pool: Pool, reader: str, topic: str) -> dict[str, tuple[int, datetime]]:
    """Load by reason how many records of a topic were lost, and the time of the last.

    The numbers are upper bounds; the time is when the loss was noticed.
    """
    return {row["reason"]: (row["records"], row["last"]) for row in await pool.fetch(_LOST, reader, topic)}


class Locked(NamedTuple):
    """The next offset of each locked partition.

    ``some_are_set_aside``: records of the topic are set aside.
    """

    nexts: dict[int, int]
    some_are_set_aside: bool


async def lock(connection: Connection, reader: str, topic: str, partitions: Collection[int]) -> Locked:
    """Lock the rows of these partitions until the transaction ends.

    They are locked in order; a new partition begins at 0.
    """
    rows = await connection.fetch(_LOCK, reader, topic, list(partitions))
    if len(rows) < len(partitions):
        await connection.execute(_INSERT, reader, topic, list(partitions))
        rows = await connection.fetch(_LOCK, reader, topic, list(partitions))
    nexts = {row["partition"]: row["next_offset"] for row in rows}
    return Locked(nexts, any(row["some_are_set_aside"] for row in rows))


async def store(connection: Connection, moved: Moved, outgoing: Sequence[Outgoing]) -> None:
    """Store offsets, and insert published records in the outbox.

    Both are done in one statement. The offsets' rows must be locked.
    """
    await connection.execute(
        outbox.INSERT_AND_STORE_OFFSETS,
        *outbox.columns(outgoing),
        list(moved.nexts),
        list(moved.nexts.values()),
        moved.reader,
        moved.topic,
    )


async def set_back(connection: Connection, topics: Collection[str]) -> None:
    """Set every reader of these topics back to the beginning.

    Running readers notice and seek at once.
    """
    await connection.execute(_SET_BACK, list(topics))
