"""The next offset of each partition, kept beside the effect: the only truth about what was applied."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from shared.runtime import outbox
from shared.runtime.outbox import Outgoing
from shared.runtime.postgres import Connection, Pool


class Moved(NamedTuple):
    """The next offset of each partition of ``topic`` that ``reader`` has applied up to there."""

    reader: str
    topic: str
    nexts: Mapping[int, int]


_LOAD = "SELECT partition, next_offset FROM consumer_offsets WHERE reader = $1 AND topic = $2"
_LOCK = """
SELECT partition, next_offset FROM consumer_offsets
WHERE reader = $1 AND topic = $2 AND partition = ANY($3::int[])
ORDER BY partition
FOR UPDATE
"""
_INSERT = """
INSERT INTO consumer_offsets (reader, topic, partition, next_offset)
SELECT $1, $2, partition, 0 FROM unnest($3::int[]) AS new (partition) ORDER BY partition
ON CONFLICT DO NOTHING
"""
_MOVE = """
UPDATE consumer_offsets AS kept SET next_offset = new.next_offset, updated_at = now()
FROM unnest($5::int[], $6::bigint[]) AS new (partition, next_offset)
WHERE kept.reader = $7 AND kept.topic = $8 AND kept.partition = new.partition
"""
_STORE = f"WITH moved AS ({_MOVE}), {outbox.ADDED} {outbox.WAKE}"
_SET_BACK = "UPDATE consumer_offsets SET next_offset = 0, updated_at = now() WHERE topic = ANY($1::text[])"


async def load(pool: Pool, reader: str, topic: str) -> dict[int, int]:
    """What is stored, by partition."""
    return {row["partition"]: row["next_offset"] for row in await pool.fetch(_LOAD, reader, topic)}


async def lock(connection: Connection, reader: str, topic: str, partitions: Collection[int]) -> dict[int, int]:
    """Lock the rows of these partitions, in order, until the transaction ends; what they hold (0 where new)."""
    rows = await connection.fetch(_LOCK, reader, topic, list(partitions))
    if len(rows) < len(partitions):
        await connection.execute(_INSERT, reader, topic, list(partitions))
        rows = await connection.fetch(_LOCK, reader, topic, list(partitions))
    return {row["partition"]: row["next_offset"] for row in rows}


async def store(connection: Connection, moved: Moved, outgoing: Sequence[Outgoing]) -> None:
    """Move on, and add what was published on the way to the outbox: one statement. The rows must be locked."""
    await connection.execute(
        _STORE, *outbox.columns(outgoing), list(moved.nexts), list(moved.nexts.values()), moved.reader, moved.topic
    )


async def set_back(connection: Connection, topics: Collection[str]) -> None:
    """Have every reader of these topics begin again; running readers notice and do so at once."""
    await connection.execute(_SET_BACK, list(topics))
