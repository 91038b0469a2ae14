"""Judging a batch: what is placed, what is rejected, and what repeats within it. Each record on its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple, Protocol

from services.metering.domain.catalogue import DAY_US, EPOCH, Catalogue, microseconds
from services.metering.domain.corrections import CorrectionEvent
from services.metering.domain.decode import UsageEvent, claim_of, decode
from services.metering.domain.placement import Usage, place, place_correction
from services.metering.domain.reasons import PASSING, RejectedError
from shared.events.topics import product_of


class Received(Protocol):
    """What judging needs to know of a record."""

    @property
    def topic(self) -> str:
        """Where it came from: a product's own topic carries no other product's usage."""

    @property
    def value(self) -> bytes | None:
        """The event as text."""

    @property
    def appended_at(self) -> datetime:
        """When it was first accepted."""

    @property
    def partition(self) -> int:
        """Where it was."""

    @property
    def offset(self) -> int:
        """Where it was."""


class Placed(NamedTuple):
    """Placed usage; ``n`` is the record's number in the batch."""

    n: int
    usage: Usage
    received_us: int
    partition: int
    offset: int


_new_placed: Callable[[tuple[int, Usage, int, int, int]], Placed] = partial(tuple.__new__, Placed)
"""Faster than calling the class."""


@dataclass(slots=True)
class Judged:
    """A batch: each record is in exactly one of the two.

    All were judged by the first ``catalogue``. Only what that did not know was judged again by a newer one, which is
    ``catalogue`` from then on: ``first_version`` is the version of the first.
    """

    placed: list[Placed]
    rejected: dict[int, RejectedError]
    catalogue: Catalogue
    first_version: int

    def waiting(self) -> list[int]:
        """Records that are rejected only because of what is not known yet."""
        return [n for n, error in self.rejected.items() if error.reason in PASSING]

    def after_end(self) -> list[int]:
        """Records that came after the end, and may not have by what is known since."""
        return [n for n, error in self.rejected.items() if error.reason == "after_end"]


def judge(records: Sequence[Received], catalogue: Catalogue) -> Judged:
    """Judge every record."""
    judged = nothing_judged(catalogue)
    judge_some(records, range(len(records)), judged)
    return judged


def nothing_judged(catalogue: Catalogue) -> Judged:
    """A batch of which nothing is judged yet."""
    return Judged([], {}, catalogue, catalogue.version)


def judge_some(records: Sequence[Received], numbers: Sequence[int], judged: Judged) -> None:
    """Judge (again) the records with these numbers, by the batch's catalogue."""
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
            rejected[n] = error.kept()
        except Exception as error:  # whatever a record holds, its neighbours are not lost
            rejected[n] = RejectedError("malformed", f"cannot be read: {type(error).__name__}", claim_of(record.value))


def _check_owner(event: UsageEvent | CorrectionEvent, owner: str) -> None:
    if event.data.product != owner:
        raise RejectedError("source_not_allowed", f"only {owner} is reported on its own topic", event.claim())


class Places:
    """Where an identity is taken: the UTC days, and the midnights within an hour of it, that take no other event."""

    __slots__ = ("days", "midnights")

    def __init__(self) -> None:
        self.days: set[int] = set()
        self.midnights: set[int] = set()

    def take(self, usage: Usage) -> None:
        """An event stands there."""
        self.days.add(usage.at_us // DAY_US)
        self.take_midnight(usage)

    def take_midnight(self, usage: Usage) -> None:
        """The midnight near the event is taken by another, of the day beside it."""
        if usage.midnight_us is not None:
            self.midnights.add(usage.midnight_us)

    def holds(self, usage: Usage) -> bool:
        """Whether the identity is taken for this event."""
        return usage.at_us // DAY_US in self.days or usage.midnight_us in self.midnights


class Split(NamedTuple):
    """Placed usage: what no earlier record of the batch can stand in the way of, and what one may."""

    first: list[Placed]
    later: list[Placed]


def split_repeats(placed: Sequence[Placed]) -> Split:
    """Part off what has the identity of an earlier record, of its UTC day or within an hour of the same midnight.

    Whether it is a repeat depends on what becomes of that record: it may be no usage itself, as another stands there.
    """
    split = Split([], [])
    add = split.first.append
    seen: dict[bytes, Usage] = {}
    taken: dict[bytes, Places] = {}
    for item in placed:
        usage = item.usage
        known = seen.setdefault(usage.digest, usage)
        if known is usage:
            add(item)
            continue
        places = taken.get(usage.digest)
        if places is None:
            places = taken[usage.digest] = Places()
            places.take(known)
        if places.holds(usage):
            split.later.append(item)
        else:
            add(item)
        places.take(usage)
    return split


def day_of(at_us: int) -> datetime:
    """The start of the UTC day."""
    return instant(at_us - at_us % DAY_US)


def instant(at_us: int) -> datetime:
    """Microseconds since 1970 as a time."""
    return EPOCH + timedelta(microseconds=at_us)
