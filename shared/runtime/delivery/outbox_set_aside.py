"""Rows of the outbox that Kafka refuses: set aside with all others of their key, or of their topic, and tried again."""

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
"""A row is tried again at least so often."""
THE_TOPICS: Final = (TopicAuthorizationFailedError, InvalidTopicError)
"""Met by everything that is sent to a topic."""
THE_ROWS: Final = (
    InvalidMessageError,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
)
"""Met by what is in a record."""

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
    """What is to be tried again, by its first row; ``None`` where there is none any more."""

    id: int
    row_id: int | None
    outgoing: Outgoing | None


@dataclass(frozen=True, slots=True)
class Refused:
    """How many keys and topics wait aside, and what the first of them met."""

    places: int
    topic: str = ""
    error: str = ""

    def __str__(self) -> str:
        return f"{self.places} keys or topics that Kafka refuses wait aside, first {self.topic}: {self.error}"


def is_rows_own(error: BaseException) -> bool:
    """Whether an error is met by this row alone, and not because Kafka is away or has a bad moment."""
    return isinstance(error, THE_ROWS) or not isinstance(error, (KafkaError, OSError))


async def add(connection: Connection, row_id: int, refused: Outgoing, error: BaseException, *, topic: bool) -> None:
    """Set aside all rows of a row's key, or of its whole ``topic``."""
    key = None if topic else refused.key
    only = None if topic or key is not None else row_id
    await connection.execute(_INSERT, refused.topic, key, only, repr(error))


async def find_due(connection: Connection) -> Due | None:
    """What has waited longest of what is to be tried again."""
    row: Row | None = await connection.fetchrow(_FIND_DUE)
    if row is None:
        return None
    if row["id"] is None:
        return Due(row["aside"], None, None)
    outgoing = Outgoing(row["topic"], row["key"], row["value"], headers_from_json(row["headers"]))
    return Due(row["aside"], row["id"], outgoing)


async def postpone(connection: Connection, due: Due, error: BaseException) -> None:
    """It was refused again."""
    await connection.execute(_POSTPONE, due.id, repr(error), DELAY_MAX)


async def release(connection: Connection, due: Due) -> None:
    """Its first row was taken, or is gone: the others follow in their order."""
    await connection.execute(_RELEASE, due.id, due.row_id)


async def describe(connection: Connection) -> Refused:
    """What waits aside."""
    row = await connection.fetchrow(_DESCRIBE)
    assert row is not None  # noqa: S101 - an aggregate
    return Refused(row["places"], row["topic"] or "", row["error"] or "")
