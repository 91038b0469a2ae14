"""Measurement of usage by day and hour, from the hours and from raw usage."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Final

from services.metering.domain.catalogue import COUNT, LATEST, PEAK, UNIQUE, Catalogue
from services.metering.domain.daily_usage import day_aggregate, level_hour, plain_text, resource_hour
from services.metering.store import measured_days, partitions
from services.metering.store.measured_days import DAY, HourResources, Key, NewDay, StoredDay
from services.metering.store.partitions import MEASURED_DAYS
from shared.events.daily_usage import Hour, UsageDay, hours_text, read_hours
from shared.runtime.delivery.isolation import concerns_one
from shared.runtime.postgres.pool import Connection

METERS_AT_ONCE: Final = 1_000
"""Meters of one day that are measured in one statement."""
RAW_KEPT: Final = timedelta(days=partitions.USAGE.kept_days - 2)
"""Age up to which raw usage of a day and of the day before is stored."""

Meter = tuple[int, int]
"""Subscription number, meter number."""


@dataclass(frozen=True, slots=True)
class DayMeasurement:
    """One measurement of some days.

    ``failed``: the errors that concern one subscription, by its number; the others are measured.
    """

    connection: Connection
    catalogue: Catalogue
    now: datetime
    failed: dict[int, Exception] = field(default_factory=dict)

    async def run(self, due: Collection[Key]) -> AsyncIterator[list[UsageDay]]:
        """Measure days, save them, and yield them as they are published, some at a time.

        Days that are too old to be measured are passed over.
        """
        wanted = sorted(with_next_days(self.catalogue, due, self.now), key=lambda key: key[2])
        for day, keys in groupby(wanted, key=lambda key: key[2]):
            await partitions.make_partitions(self.connection, [(MEASURED_DAYS, MEASURED_DAYS.first_day(day.date()))])
            meters = iter(sorted((subscription, meter) for subscription, meter, _ in keys))
            while some := list(islice(meters, METERS_AT_ONCE)):
                yield await self._measure_isolated(some, day)

    async def _measure_isolated(self, meters: Sequence[Meter], day: datetime) -> list[UsageDay]:
        """Measure a day of some meters; if that fails, of each subscription alone."""
        try:
            return await self._measure(meters, day)
        except Exception as error:
            if not concerns_one(error):
                raise
        found: list[UsageDay] = []
        for subscription, its in groupby(meters, key=lambda one: one[0]):
            try:
                found += await self._measure(list(its), day)
            except Exception as alone:
                if not concerns_one(alone):
                    raise
                self.failed.setdefault(subscription, alone)
        return found

    async def _measure(self, meters: Sequence[Meter], day: datetime) -> list[UsageDay]:
        hours = await self._load_hours(meters, day)
        measured = {
            meter: NewDay(*meter, day_aggregate(self._kind(meter), found), hours_text(found))
            for meter in meters
            for found in [hours.get(meter, [])]
        }
        stored = await measured_days.upsert_days(self.connection, day, list(measured.values()), self.now)
        return [self._published(one, measured[one.subscription, one.meter], day) for one in stored]

    def _published(self, stored: StoredDay, measured: NewDay, day: datetime) -> UsageDay:
        meter = self.catalogue.meters[stored.meter]
        return UsageDay(
            subscription=self.catalogue.by_number[stored.subscription].state.id,
            product=meter.product,
            meter=meter.state.meter,
            day=day.date(),
            aggregation=meter.state.aggregation,
            aggregate=plain_text(measured.aggregate),
            revision=stored.revision,
            as_of=stored.as_of,
            hours=read_hours(measured.hours),
        )

    async def _load_hours(self, meters: Sequence[Meter], day: datetime) -> Mapping[Meter, list[Hour]]:
        by_kind: defaultdict[int, list[Meter]] = defaultdict(list)
        for one in meters:
            by_kind[self._kind(one)].append(one)
        latest, unique = by_kind.pop(LATEST, []), by_kind.pop(UNIQUE, [])
        added = [one for several in by_kind.values() for one in several]
        found: defaultdict[Meter, list[Hour]] = defaultdict(list)
        for sums in await measured_days.load_sums(self.connection, added, day) if added else ():
            kind = self._kind((sums.subscription, sums.meter))
            amount = sums.peak if kind == PEAK else sums.events if kind == COUNT else sums.total
            found[sums.subscription, sums.meter].append(level_hour(sums.hour, amount))
        for level in await measured_days.find_latest(self.connection, latest, day) if latest else ():
            found[level.subscription, level.meter].append(level_hour(level.hour, level.level))
        for hour in _hours(await measured_days.count_resources(self.connection, unique, day) if unique else ()):
            by_gap = [(one.gap, one.resources) for one in hour]
            found[hour[0].subscription, hour[0].meter].append(resource_hour(hour[0].hour, by_gap))
        return found

    def _kind(self, meter: Meter) -> int:
        return self.catalogue.meters[meter[1]].kind


def with_next_days(catalogue: Catalogue, due: Collection[Key], now: datetime) -> set[Key]:
    """Return the due days that can be measured, and those that depend on them.

    When a resource was last seen may lie on the day before. A due day may be tomorrow, as usage may be ahead.
    """
    known = {key for key in due if key[1] in catalogue.meters and key[0] in catalogue.by_number}
    following = {(one[0], one[1], one[2] + DAY) for one in known if catalogue.meters[one[1]].kind == UNIQUE}
    return {key for key in known | {one for one in following if one[2] <= now} if key[2] >= now - RAW_KEPT}


def _hours(rows: Sequence[HourResources]) -> Iterator[list[HourResources]]:
    for _, group in groupby(rows, key=lambda row: (row.subscription, row.meter, row.hour)):
        yield list(group)
