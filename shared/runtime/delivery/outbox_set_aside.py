"""Outbox rows that Kafka refuses: set aside and retried.

All other rows of their key or topic are set aside with them.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from aiokafka.errors import (
    InvalidMessageError,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnsupportedForMessageFormatError,
)

from shared.runtime.delivery.headers import headers_from_json
from shared.runtime.postgres.pool import Connection, Row
from shared.runtime.records import Outgoing

DELAY_MAX: Final = timedelta(seconds=60)
"""Longest pause between two attempts at a row."""
TOPIC_ERRORS: Final = (TopicAuthorizationFailedError, InvalidTopicError)
"""Errors that concern every row of a topic."""
ROW_ERRORS: Final = (
    InvalidMessageError,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
)
"""Errors that concern one row, for its content."""

_INSERT = """
INSERT INTO outbox_set_aside (topic, key, row_id, error, retry_at) VALUES ($1, $2, $3, $4, clock_timestamp())
"""
_FIND_DUE = """
SELECT aside.id AS aside, outbox.id, outbox.topic, outbox.key, outbox.value, outbox.headers
FROM (
    SELECT id, topic, key, row_id FROM outbox_set_aside WHERE retry_at <= clock_timestamp() ORDER BY retry_at LIMIT 1
) AS aside
LEFT JOIN LATERAL (
    SELECT id, topic, key, value, headers FROM outbox
    WHERE topic = aside.topic
        AND (key = aside.key OR id = aside.row_id OR (aside.key IS NULL AND aside.row_id IS NULL))
    ORDER BY id LIMIT 1
) AS outbox ON true
"""
_POSTPONE = """
UPDATE outbox_set_aside
SET failures = failures + 1, error = $2,
    retry_at = clock_timestamp() + least($3, interval '1 second' * 2 ^ least(failures, 10))
WHERE id = $1
"""
_RELEASE = """
WITH released AS (DELETE FROM outbox_set_aside WHERE id = $1) DELETE FROM outbox WHERE id = $2
"""
_DESCRIBE = """
SELECT count(*) AS places, (array_agg(topic ORDER BY id))[1] AS topic, (array_agg(error ORDER BY id))[1] AS error
FROM outbox_set_aside
"""


@dataclass(frozen=True, slots=True)
class Due:
    """An entry that is due for a retry, with its first row.

    Without a row, all its rows are gone.
    """

    id: int
    row_id: int | None
    outgoing: Outgoing | None


@dataclass(frozen=True, slots=True)
class Refused:
    """How many keys and topics are set aside, and the error of the first."""

    places: int
    topic: str = ""
    error: str = ""

    def __str__(self) -> str:
        return f"Kafka refuses {self.places} keys or topics, which are set aside, first {self.topic}: {self.error}"


def concerns_row(error: BaseException) -> bool:
    """Return whether an error concerns one row.

    Such an error is neither transient nor an outage of Kafka.
    """
    return isinstance(error, ROW_ERRORS) or not isinstance(error, (KafkaError, OSError))


async def add(connection: Connection, row_id: int, refused: Outgoing, error: BaseException, *, topic: bool) -> None:
    """Set aside all rows of the refused row's key, or with ``topic`` of its topic."""
    key = None if topic else refused.key
    only = None if topic or key is not None else row_id
    await connection.execute(_INSERT, refused.topic, key, only, repr(error))


async def find_due(connection: Connection) -> Due | None:
    """Find the entry that has been due for longest."""
    row: Row | None = await connection.fetchrow(_FIND_DUE)
    if row is None:
        return None
    if row["id"] is None:
        return Due(row["aside"], None, None)
    outgoing = Outgoing(row["topic"], row["key"], row["value"], headers_from_json(row["headers"]))
    return Due(row["aside"], row["id"], outgoing)


async def postpone(connection: Connection, due: Due, error: BaseException) -> None:
    """Postpone the next retry of an entry that was refused again."""
    await connection.execute(_POSTPONE, due.id, repr(error), DELAY_MAX)


async def release(connection: Connection, due: Due) -> None:
    """Delete an entry and its first row, which Kafka took or which is gone.

    The other rows are sent in order.
    """
    await connection.execute(_RELEASE, due.id, due.row_id)


async def describe(connection: Connection) -> Refused:
    """Summarise what is set aside."""
    row = await connection.fetchrow(_DESCRIBE)
    assert row is not None  # noqa: S101 - an aggregate
    return Refused(row["places"], row["topic"] or "", row["error"] or "")
