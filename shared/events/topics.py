"""The topics: their writers, readers, keys and retention, in one table.

Topics are created from this table, and a test holds the real subscribers to it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from shared.events.alerts import ALERTS_EVENTS
from shared.events.allocation import ALLOCATION_EVENTS, PEOPLE_EVENTS
from shared.events.commands import ALERTS_COMMANDS, ALLOCATION_COMMANDS, METERING_COMMANDS
from shared.events.envelope import Payload
from shared.events.metering import CONSUMPTION, DAILY_USAGE, METERING_EVENTS
from shared.events.outcomes import DecisionRecorded
from shared.events.reporting import REPORTING_EVENTS
from shared.events.usage import USAGE_EVENTS

ServiceName = Literal["allocation", "metering", "alerts", "reporting"]
Writer = Literal["platforms", "allocation", "metering", "alerts", "reporting"]

PARTITIONS = 12
_PRODUCT_USAGE = re.compile(r"usage\.events\.([a-z0-9][a-z0-9-]{0,63})")
DEAD_LETTERS_RETENTION = timedelta(days=35)
COMPACTED_WITHIN = timedelta(days=7)
"""Longest time for which a compacted topic still has what was replaced or deleted.

It holds for a topic that is compacted only.
"""
TOMBSTONES_RETENTION = timedelta(days=35)
"""Time for which such a topic still has the record that deletes a key.

A reader may have been away for so long.
"""
DEAD_LETTER_BYTES = 2 * 1024 * 1024
"""The largest record of a dead-letter topic.

It holds the largest record of any topic, with the headers of the failure.
"""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, with its key, writers, readers and retention.

    ``retention`` of None means forever; a ``compacted`` topic retains the newest record of each key.

    ``key``: what a record's key identifies. ``carries``: the payloads of its records. ``max_record_bytes`` is the
    broker's default (1 MiB) unless given.
    """

    name: str
    key: str
    writers: tuple[Writer, ...]
    readers: tuple[ServiceName, ...]
    carries: tuple[type[Payload], ...]
    retention: timedelta | None
    compacted: bool = False
    partitions: int = PARTITIONS
    max_record_bytes: int | None = None

    def config(self) -> dict[str, str]:
        """The topic's Kafka configuration. Timestamps are the broker's, never the event's."""
        config = {
            "cleanup.policy": self._cleanup_policy,
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": "-1" if self.retention is None else _milliseconds(self.retention),
        }
        if self._cleanup_policy == "compact":
            config["max.compaction.lag.ms"] = _milliseconds(COMPACTED_WITHIN)
            config["delete.retention.ms"] = _milliseconds(TOMBSTONES_RETENTION)
        return config if self.max_record_bytes is None else config | {"max.message.bytes": str(self.max_record_bytes)}

    @property
    def _cleanup_policy(self) -> str:
        if not self.compacted:
            return "delete"
        return "compact" if self.retention is None else "compact,delete"

    def dead_letters(self, reader: ServiceName) -> "Topic":
        """The topic for records of this one that ``reader`` can never process."""
        return Topic(
            name=f"{self.name}.{reader}.dlq",
            key=self.key,
            writers=(reader,),
            readers=(),
            carries=(),
            retention=DEAD_LETTERS_RETENTION,
            partitions=1,
            max_record_bytes=DEAD_LETTER_BYTES,
        )


def _milliseconds(time: timedelta) -> str:
    return str(time // timedelta(milliseconds=1))


USAGE = Topic("usage.events", "subscription", ("platforms", "metering"), ("metering",), USAGE_EVENTS, timedelta(days=7))
"""A product may have a topic of its own beside it: see ``product_usage``."""
ALLOCATION_COMMANDS_TOPIC = Topic(
    "allocation.commands",
    "subscription or account",
    ("reporting",),
    ("allocation",),
    ALLOCATION_COMMANDS,
    timedelta(days=7),
)
ALERTS_COMMANDS_TOPIC = Topic(
    "alerts.commands", "subscription", ("reporting",), ("alerts",), ALERTS_COMMANDS, timedelta(days=7)
)
METERING_COMMANDS_TOPIC = Topic(
    "metering.commands", "product", ("reporting",), ("metering",), METERING_COMMANDS, timedelta(days=7)
)
ALLOCATION_EVENTS_TOPIC = Topic(
    "allocation.events",
    "subscription or account",
    ("allocation",),
    ("metering", "alerts", "reporting"),
    ALLOCATION_EVENTS,
    None,
)
ALLOCATION_PEOPLE_TOPIC = Topic(
    "allocation.people", "person", ("allocation",), ("reporting",), PEOPLE_EVENTS, None, compacted=True
)
"""The only topic of events with names and e-mail addresses.

Only the newest record of each person is kept, so that a person can be erased from it.
"""
METERING_EVENTS_TOPIC = Topic(
    "metering.events",
    "subscription|product, or product",
    ("metering",),
    ("reporting",),
    METERING_EVENTS,
    timedelta(days=400),
)
ALERTS_EVENTS_TOPIC = Topic(
    "alerts.events", "subscription", ("alerts",), ("reporting",), ALERTS_EVENTS, timedelta(days=400)
)
REPORTING_EVENTS_TOPIC = Topic(
    "reporting.events", "subscription", ("reporting",), (), REPORTING_EVENTS, timedelta(days=400)
)
"""No service reads it yet."""
AUDIT = Topic(
    "audit.events",
    "account",
    ("allocation", "metering", "alerts", "reporting"),
    ("reporting",),
    (DecisionRecorded,),
    timedelta(days=400),
)
CONSUMPTION_TOPIC = Topic(
    "metering.consumption",
    "subscription|product|window start",
    ("metering",),
    ("allocation", "alerts", "reporting"),
    CONSUMPTION,
    timedelta(days=400),
    compacted=True,
)
DAILY_USAGE_TOPIC = Topic(
    "metering.usage",
    "subscription|product|meter|day",
    ("metering",),
    ("reporting",),
    DAILY_USAGE,
    timedelta(days=400),
    compacted=True,
)

TOPICS: tuple[Topic, ...] = (
    USAGE,
    ALLOCATION_COMMANDS_TOPIC,
    ALERTS_COMMANDS_TOPIC,
    METERING_COMMANDS_TOPIC,
    ALLOCATION_EVENTS_TOPIC,
    ALLOCATION_PEOPLE_TOPIC,
    METERING_EVENTS_TOPIC,
    ALERTS_EVENTS_TOPIC,
    REPORTING_EVENTS_TOPIC,
    AUDIT,
    CONSUMPTION_TOPIC,
    DAILY_USAGE_TOPIC,
)


def every_topic(products: Iterable[str] = ()) -> Iterable[Topic]:
    """Yield all topics.

    They include the dead-letter topics of their readers, and the usage topics of ``products``.
    """
    for topic in TOPICS:
        yield topic
        for reader in topic.readers:
            yield topic.dead_letters(reader)
    for product in products:
        yield product_usage(product)


def product_usage(product: str) -> Topic:
    """Return a product's own usage topic.

    Only the product's platform may write it, for this product alone.
    It is optional: metering finds it once it is created. Its dead letters go to that of ``usage.events``.
    """
    return replace(USAGE, name=f"{USAGE.name}.{product}")


def product_of(topic: str) -> str | None:
    """The product whose own usage topic has this name; ``None`` for another topic.

    ``topic`` is without the installation's prefix.
    """
    match = _PRODUCT_USAGE.fullmatch(topic)
    return match[1] if match else None


def dead_letter_name(topic: str, reader: str) -> str:
    """The name of the topic for records of this one that ``reader`` can never process."""
    return f"{USAGE.name if product_of(topic) else topic}.{reader}.dlq"
