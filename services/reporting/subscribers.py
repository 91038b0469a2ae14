"""Kafka subscribers that apply records in batches."""

from collections.abc import Iterator, Sequence

from services.reporting.handlers import append_decisions, remove_person, save_consumption, save_days, save_person
from shared.events.allocation import PEOPLE_EVENTS
from shared.events.daily_usage import UsageDay, day_of, read_day
from shared.events.envelope import by_type
from shared.events.ids import PersonId
from shared.events.metering import CONSUMPTION, DAILY_USAGE
from shared.events.outcomes import DecisionRecorded
from shared.events.snapshots import Snapshot, read_snapshot, snapshot_of
from shared.runtime.delivery.decode import read_event, read_events
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.records import Record

_CONSUMPTION = by_type(CONSUMPTION)
_DAILY_USAGE = by_type(DAILY_USAGE)
_AUDIT = by_type([DecisionRecorded])
_PEOPLE = by_type(PEOPLE_EVENTS)


async def on_consumption(tx: Transaction, records: Sequence[Record]) -> None:
    """Save a batch of snapshots in one statement."""
    await save_consumption(tx, list(_snapshots(records)))


async def on_days(tx: Transaction, records: Sequence[Record]) -> None:
    """Save a batch of usage by day in two statements."""
    await save_days(tx, list(_days(records)))


async def on_people(tx: Transaction, records: Sequence[Record]) -> None:
    """Save people, and delete those whose record was deleted."""
    for record in records:
        event = read_event(record, _PEOPLE)
        if event is not None:
            await save_person(tx, event)
        elif record.value is None and record.key is not None:
            await remove_person(tx, PersonId(record.key.decode(errors="replace")))


async def on_audit(tx: Transaction, records: Sequence[Record]) -> None:
    """Append a batch of decisions in one statement.

    The statement locks the chains of its accounts in order.
    """
    await append_decisions(tx, list(read_events(records, _AUDIT)))


def _snapshots(records: Sequence[Record]) -> Iterator[Snapshot]:
    for record in records:
        plain = None if record.value is None else read_snapshot(record.value)
        if plain is not None:
            yield plain
        else:
            yield from (snapshot_of(event.data) for event in read_events([record], _CONSUMPTION))


def _days(records: Sequence[Record]) -> Iterator[UsageDay]:
    for record in records:
        plain = None if record.value is None else read_day(record.value)
        if plain is not None:
            yield plain
        else:
            yield from (day_of(event.data) for event in read_events([record], _DAILY_USAGE))
