"""Judgement of a batch of records.

Each record is placed or rejected by itself; repeats within the batch are split off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple, Protocol

from services.metering.domain.catalogue import DAY_US, EPOCH, Catalogue, microseconds
from services.metering.domain.corrections import CorrectionEvent
from services.metering.domain.decode import UsageEvent, claim_of, decode
from services.metering.domain.placement import Usage, place, place_correction
from services.metering.domain.reasons import TRANSIENT, RejectedError
from shared.events.topics import product_of


class UsageRecord(Protocol):
    """The parts of a record that judgement reads."""

    @property
    def topic(self) -> str:
        """The topic; a product's own topic may carry no other product's usage."""

    @property
    def value(self) -> bytes | None:
        """The event as JSON."""

    @property
    def appended_at(self) -> datetime:
        """The broker's append time of its first acceptance."""

    @property
    def partition(self) -> int:
        """The Kafka partition."""

    @property
    def offset(self) -> int:
        """The Kafka offset."""


class Placed(NamedTuple):
    """Placed usage; ``n`` is the record's index in the batch."""

    n: int
    usage: Usage
    received_us: int
    partition: int
    offset: int


_new_placed: Callable[[tuple[int, Usage, int, int, int]], Placed] = partial(tuple.__new__, Placed)
"""Faster than calling the class."""


@dataclass(slots=True)
class Judgement:
    """The judgement of a batch, with each record in ``placed`` or in ``rejected``.

    ``rejected`` gives errors by the index of the record. All records are judged by a first catalogue, of version
    ``first_version``. Those that it rejects with a transient reason may be judged again by a newer one; ``catalogue``
    is the last one used.
    """

    placed: list[Placed]
    rejected: dict[int, RejectedError]
    catalogue: Catalogue
    first_version: int

    def transient(self) -> list[int]:
        """Indexes of records rejected with a transient reason."""
        return [n for n, error in self.rejected.items() if error.reason in TRANSIENT]

    def after_end(self) -> list[int]:
        """Return the indexes of records rejected as ``after_end``.

        A newer catalogue may know a renewal.
        """
        return [n for n, error in self.rejected.items() if error.reason == "after_end"]


def judge(records: Sequence[UsageRecord], catalogue: Catalogue) -> Judgement:
    """Judge every record by one catalogue."""
    judged = empty_judgement(catalogue)
    judge_records(records, range(len(records)), judged)
    return judged


def empty_judgement(catalogue: Catalogue) -> Judgement:
    """Make the judgement of a batch before any record is judged."""
    return Judgement([], {}, catalogue, catalogue.version)


def judge_records(records: Sequence[UsageRecord], numbers: Sequence[int], judged: Judgement) -> None:
    """Judge the records with these indexes by ``judged.catalogue``.

    Earlier rejections of these records are replaced.
    """
    catalogue = judged.catalogue
    add, rejected = judged.placed.append, judged.rejected
    appended_at, received_us = EPOCH, 0
    topic, owner = "", None
    for n in numbers:
        record = records[n]
        if record.topic is not topic:  # neighbours share both
            topic, owner = record.topic, product_of(record.topic)
        if record.appended_at is not appended_at:
            appended_at = record.appended_at
            received_us = microseconds(appended_at)
        try:
            event = decode(record.value)
            if owner is not None:
                _check_owner(event, owner)
            if isinstance(event, UsageEvent):
                usage = place(event, received_us, catalogue)
            else:
                usage = place_correction(event, received_us, catalogue)
            add(_new_placed((n, usage, received_us, record.partition, record.offset)))
            if rejected:
                rejected.pop(n, None)
        except RejectedError as error:
            rejected[n] = error.without_traceback()
        except Exception as error:  # a record that cannot be read must not fail its batch
            rejected[n] = RejectedError("malformed", f"cannot be read: {type(error).__name__}", claim_of(record.value))


def _check_owner(event: UsageEvent | CorrectionEvent, owner: str) -> None:
    """Refuse an event of another product than ``owner``, the product of the topic."""
    if event.data.product != owner:
        raise RejectedError("source_not_allowed", f"only {owner} is reported on its own topic", event.claim())


class IdentityTimes:
    """The UTC days and midnights at which an identity is already used.

    The midnights are those near its events.
    """

    __slots__ = ("days", "midnights")

    def __init__(self) -> None:
        self.days: set[int] = set()
        self.midnights: set[int] = set()

    def add(self, usage: Usage) -> None:
        """Add the day and the midnight of an event."""
        self.days.add(usage.at_us // DAY_US)
        self.add_midnight(usage)

    def add_midnight(self, usage: Usage) -> None:
        """Add only the midnight within an hour of the event, where there is one."""
        if usage.midnight_us is not None:
            self.midnights.add(usage.midnight_us)

    def contains(self, usage: Usage) -> bool:
        """Whether the identity is used on the event's day or at its midnight."""
        return usage.at_us // DAY_US in self.days or usage.midnight_us in self.midnights


class Split(NamedTuple):
    """Placed usage, split into records without repeats and possible repeats.

    Records of ``first`` repeat none of ``first``; records of ``later`` may repeat one of them. ``shared`` gives by
    digest the records of ``first`` with an identity that further records have.
    """

    first: list[Placed]
    later: list[Placed]
    shared: dict[bytes, list[Placed]]


def split_repeats(placed: Sequence[Placed]) -> Split:
    """Split off records that may repeat an earlier one of the batch.

    Such a record has the identity of an earlier one on the same UTC day or within an hour of one midnight. Whether it
    is a repeat depends on whether the earlier one is applied.
    """
    split = Split([], [], {})
    add = split.first.append
    seen: dict[bytes, Placed] = {}
    taken: dict[bytes, IdentityTimes] = {}
    for item in placed:
        usage = item.usage
        known = seen.setdefault(usage.digest, item)
        if known is item:
            add(item)
            continue
        times = taken.get(usage.digest)
        if times is None:
            times = taken[usage.digest] = IdentityTimes()
            times.add(known.usage)
            split.shared[usage.digest] = [known]
        if times.contains(usage):
            split.later.append(item)
        else:
            add(item)
            split.shared[usage.digest].append(item)
        times.add(usage)
    return split


def day_of(at_us: int) -> datetime:
    """Return the start of the UTC day that contains ``at_us``."""
    return instant(at_us - at_us % DAY_US)


def instant(at_us: int) -> datetime:
    """Convert microseconds since 1970 to a time."""
    return EPOCH + timedelta(microseconds=at_us)
