"""Usage that is not applied, replays of it, and the books: what metering tells of them on ``metering.events``.

A source, a product, a subscription and an id are here what the record claimed: any printable text, or ``unknown``.
"""

from typing import Literal

from pydantic import Field

from shared.events.envelope import Day, Frozen, Instant, Payload

VALUE_BYTES = 2048
"""How much of a quarantined record's value is told; metering keeps it whole."""

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
"""Why usage is not applied. ``QuarantinedRecord.reason`` is one of them; readers keep one that they do not know."""

SettledAs = Literal["applied", "duplicate"]


class QuarantinedRecord(Frozen):
    """A record in quarantine. ``value`` is the beginning of it as text; ``value_bytes`` absent: it has none."""

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
    """A record was put into quarantine, or has another reason after it was judged again."""

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
    """Which of it: what fits all that is given. ``start`` and ``end`` are of the record's arrival."""

    id: str | None = Field(None, pattern=r"^[1-9][0-9]{0,17}$")
    reason: str | None = Field(None, max_length=64)
    source: str | None = Field(None, min_length=1, max_length=200)
    product: str | None = Field(None, min_length=1, max_length=64)
    subscription: str | None = Field(None, min_length=1, max_length=200)
    start: Instant | None = None
    end: Instant | None = None


class QuarantineReplay(Frozen):
    """A replay and how far it is. ``total``: how many records it is about, once they are counted."""

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
    """What became of the records of a source and product that arrived on one UTC day.

    Always accepted = applied + duplicate + quarantined. ``lost`` are records that Kafka deleted before they were read,
    or that were stepped over, at most, by the day on which it was noticed; they were not accepted. ``revision`` only
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
    """The state of a line of the books. Several changes may be told as one."""

    event_type = "unitpool.metering.books.changed.v1"
    line: BooksLine
