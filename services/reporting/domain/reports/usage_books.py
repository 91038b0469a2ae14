"""The vendor's reports on what became of usage: the books, and the quarantine."""

import json
from datetime import date, datetime
from typing import Final, NamedTuple

from services.reporting.domain.reports.columns import Column, Row
from services.reporting.domain.reports.definitions import Parameter, Report, ReportId
from services.reporting.domain.reports.parameters import FLAVOUR, FROM, PRODUCT, SUBSCRIPTION, TO

_REASON: Final = Parameter("reason", "Only records with this reason, such as `too_old`; without it, all.")

RECONCILIATION: Final = Report(
    id=ReportId("reconciliation"),
    title="Reconciliation of usage",
    description="One row per day of arrival, product and source: accepted = applied + duplicate + quarantined.",
    columns=(
        Column("day", "date", "Day on which the records arrived (UTC)."),
        Column("product", "text", "Product that the records claim, or `unknown`."),
        Column("source", "text", "Source that the records claim, or `unknown`."),
        Column("accepted", "integer", "Records that were taken from the topic."),
        Column("applied", "integer", "Records of these that were counted."),
        Column("duplicate", "integer", "Records of these that had been counted before."),
        Column("quarantined", "integer", "Records of these that are in quarantine."),
        Column("lost", "integer", "Records that were lost before they were read, at most; not accepted."),
        Column("balanced", "boolean", "Whether accepted = applied + duplicate + quarantined."),
        Column("revision", "integer", "Revision of the line; it grows with each change."),
    ),
    parameters=(PRODUCT, FROM, TO, FLAVOUR),
    audience="vendor",
)

QUARANTINE: Final = Report(
    id=ReportId("quarantine"),
    title="Quarantined usage",
    description="One row per record of usage that was not applied, with its reason.",
    columns=(
        Column("id", "integer", "Number of the record in the quarantine."),
        Column("received_at", "timestamp", "When the record arrived."),
        Column("quarantined_at", "timestamp", "When it was put into quarantine."),
        Column("reason", "text", "Why it was not applied, such as `too_old`."),
        Column("detail", "text", "The reason in a sentence."),
        Column("product", "text", "Product that the record claims, or `unknown`."),
        Column("source", "text", "Source that the record claims, or `unknown`."),
        Column("subscription", "text", "Subscription that the record claims.", nullable=True),
        Column("event", "text", "Id of the event that the record claims.", nullable=True),
        Column("topic", "text", "Topic from which the record was taken."),
        Column("partition", "integer", "Partition of the topic."),
        Column("offset", "integer", "Offset in the partition."),
        Column("value", "text", "The record's value, at most its first 2,048 bytes.", nullable=True),
        Column("value_bytes", "integer", "Length of the whole value, in bytes.", nullable=True),
        Column("settled_at", "timestamp", "When it left the quarantine; empty: it is still there.", nullable=True),
        Column("settled_as", "text", "What it then was: `applied` or `duplicate`.", nullable=True),
    ),
    parameters=(_REASON, PRODUCT, SUBSCRIPTION, FROM, TO, FLAVOUR),
    audience="vendor",
)


class BookLine(NamedTuple):
    """A stored line of the books."""

    day: date
    product: str
    source: str
    accepted: int
    applied: int
    duplicate: int
    quarantined: int
    lost: int
    revision: int


class QuarantineEntry(NamedTuple):
    """A stored record of the quarantine; ``state``: as metering published it, in JSON."""

    id: int
    settled_at: datetime | None
    settled_as: str | None
    state: str


def book_row(line: BookLine) -> Row:
    """Return the row of a line of the books."""
    is_balanced = line.accepted == line.applied + line.duplicate + line.quarantined
    return (*line[:8], is_balanced, line.revision)


def quarantine_row(entry: QuarantineEntry) -> Row:
    """Return the row of a quarantined record.

    Raises:
        ValueError, KeyError, TypeError: its state cannot be read.
    """
    state: dict[str, str | int | None] = json.loads(entry.state)
    return (
        entry.id,
        _time(state["received_at"]),
        _time(state["quarantined_at"]),
        *(state[name] for name in ("reason", "detail", "product", "source")),
        state.get("subscription"),
        state.get("event_id"),
        *(state[name] for name in ("topic", "partition", "offset")),
        state.get("value"),
        state.get("value_bytes"),
        entry.settled_at,
        entry.settled_as,
    )


def _time(text: str | int | None) -> datetime:
    return datetime.fromisoformat(str(text))
