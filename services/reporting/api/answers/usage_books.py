"""The quarantine, its replays, and the books of usage."""

from datetime import date, datetime
from typing import Literal

from services.reporting.api.answers.shapes import WriteAnswer
from services.reporting.api.fields import AnswerBody


class Quarantined(AnswerBody):
    """A record of usage that is or was in quarantine.

    ``value`` is the beginning of the record's value, and ``value_bytes`` its length; metering stores all of it.
    """

    id: str
    topic: str
    partition: int
    offset: int
    received_at: datetime
    quarantined_at: datetime
    reason: str
    detail: str
    source: str
    product: str
    subscription: str | None
    event_id: str | None
    value: str | None
    value_bytes: int | None
    version: int
    settled_at: datetime | None
    settled_as: str | None


class Quarantine(AnswerBody):
    items: list[Quarantined]
    next_cursor: str | None


class QuarantineCount(AnswerBody):
    """Counts of records that arrived on one UTC day.

    ``waiting`` are in quarantine, and ``settled`` have left it.
    """

    day: date
    source: str
    product: str
    reason: str
    waiting: int
    settled: int


class QuarantineCounts(AnswerBody):
    items: list[QuarantineCount]
    next_cursor: str | None


class ReplayWanted(AnswerBody):
    """The filter of a replay: records that match all given members.

    If none is given, all records match.
    """

    id: str | None
    reason: str | None
    source: str | None
    product: str | None
    subscription: str | None
    start: datetime | None
    end: datetime | None


class Replay(WriteAnswer):
    """A replay of quarantined records, with its progress.

    ``judged`` of ``total`` records are done: ``applied``, ``duplicate``, or still ``quarantined``.
    """

    id: str
    wanted: ReplayWanted
    requested_at: datetime
    requested_by: str
    state: Literal["waiting", "running", "finished"]
    total: int | None
    judged: int
    applied: int
    duplicate: int
    quarantined: int
    finished_at: datetime | None
    version: int


class Replays(AnswerBody):
    items: list[Replay]
    next_cursor: str | None


class Totals(AnswerBody):
    """Counts of usage records.

    ``lost``: at most so many records expired unread or were skipped; they were not accepted.
    """

    accepted: int
    applied: int
    duplicate: int
    quarantined: int
    lost: int
    balanced: bool


class BooksLine(Totals):
    """``balanced``: accepted = applied + duplicate + quarantined."""

    day: date
    source: str
    product: str
    revision: int


class Reconciliation(AnswerBody):
    """``totals`` are over all lines that match, on all pages."""

    items: list[BooksLine]
    next_cursor: str | None
    totals: Totals
