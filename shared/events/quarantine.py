"""Events of metering on quarantined usage, its replays, and the books.

They are on the topic ``metering.events``.

Source, product, subscription and id are what the record claims: any printable text, or ``unknown``.
"""

from typing import Literal

from pydantic import Field

from shared.events.envelope import Day, Frozen, Instant, Payload

VALUE_BYTES = 2048
"""Most bytes of a quarantined record's value that are published.

Metering stores all.
"""

QuarantineReason = Literal[
    "malformed",
    "unsupported_type",
    "unknown_subscription",
    "unknown_product",
    "unknown_meter",
    "product_not_subscribed",
    "before_start",
    "after_end",
    "source_not_allowed",
    "too_old",
    "too_far_ahead",
    "missing_resource",
    "invalid_quantity",
    "identity_conflict",
]
"""The reason why usage is not applied.

Readers accept reasons that they do not know.
"""

SettledAs = Literal["applied", "duplicate"]


class QuarantinedRecord(Frozen):
    """A record in quarantine.

    ``value`` is the beginning of its value as text; without ``value_bytes`` it has none.
    """

    id: str
    topic: str
    partition: int
    offset: int
    received_at: Instant
    quarantined_at: Instant
    reason: str
    detail: str
    source: str
    product: str
    subscription: str | None = None
    event_id: str | None = None
    value: str | None = None
    value_bytes: int | None = None
    version: int = Field(ge=1)


class UsageQuarantined(Payload):
    """A record was quarantined, or has another reason after a replay."""

    event_type = "unitpool.metering.usage.quarantined.v1"
    record: QuarantinedRecord


class UsageSettled(Payload):
    """A record left the quarantine. ``record`` is its id."""

    event_type = "unitpool.metering.usage.settled.v1"
    record: str
    settled_at: Instant
    settled_as: SettledAs
    version: int = Field(ge=1)


class QuarantineWanted(Frozen):
    """A filter of quarantined records: all given fields must match.

    ``start`` and ``end`` are those of the arrival.
    """

    id: str | None = Field(None, pattern=r"^[1-9][0-9]{0,17}$")
    reason: str | None = Field(None, max_length=64)
    source: str | None = Field(None, min_length=1, max_length=200)
    product: str | None = Field(None, min_length=1, max_length=64)
    subscription: str | None = Field(None, min_length=1, max_length=200)
    start: Instant | None = None
    end: Instant | None = None


class QuarantineReplay(Frozen):
    """The progress of a replay.

    ``total``: how many records match it, once they are counted.
    ``judged`` of them are done: ``applied``, ``duplicate``, or still ``quarantined``.
    """

    id: str
    wanted: QuarantineWanted
    requested_at: Instant
    requested_by: str
    state: Literal["waiting", "running", "finished"]
    total: int | None = None
    judged: int = 0
    applied: int = 0
    duplicate: int = 0
    quarantined: int = 0
    finished_at: Instant | None = None
    version: int = Field(ge=1)


class QuarantineReplayChanged(Payload):
    event_type = "unitpool.metering.quarantine-replay.changed.v1"
    replay: QuarantineReplay


class BooksLine(Frozen):
    """Counts of the records of one source and product that arrived on one UTC day.

    Always accepted = applied + duplicate + quarantined. ``lost``: records that Kafka deleted before they were read, or
    that an operator skipped, at most, by the day on which this was noticed; they were not accepted. ``revision`` only
    grows per line.
    """

    day: Day
    source: str
    product: str
    accepted: int
    applied: int
    duplicate: int
    quarantined: int
    lost: int = 0
    revision: int = Field(ge=1)


class BooksChanged(Payload):
    """The state of a line of the books. One event may cover several changes."""

    event_type = "unitpool.metering.books.changed.v1"
    line: BooksLine
