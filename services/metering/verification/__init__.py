"""``check``: compare consumption and the books with raw usage.

It reaches back as far as raw usage is retained (60 days).
"""

import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime, timedelta

from aiokafka.errors import KafkaError

from services.metering.settings import MeteringSettings
from services.metering.store import differences, partitions, recomputation
from services.metering.store.differences import Repeated
from services.metering.store.projection import Projection
from services.metering.verification.kafka_reader import KafkaReader, open_reader
from services.metering.verification.published_revisions import find_lost
from shared.runtime.postgres.database_clock import database_now
from shared.runtime.postgres.pool import DATABASE_ERRORS, Connection, connect
from shared.runtime.service.command_line import ServiceCommand

EQUAL, DIFFERENT, NOT_RUN = 0, 1, 2
KEPT = timedelta(days=partitions.USAGE.kept_days)
LATE = timedelta(days=36)
"""Age that usage may have on arrival, and one day more.

Books are compared from so long after the oldest raw usage on, since all usage that arrived on those days is still
stored.
"""
SLICES_PER_PROGRESS_LINE = 32
SHOWN_LOST = 20


async def check(settings: MeteringSettings, _: Namespace) -> int:
    """Print every difference. Return the exit code.

    It is 0 if there is none, 1 if there are some, and 2 if the check could not be made. Without an answer of Kafka the
    database is still compared, and the exit code is 1 or 2.
    """
    try:
        async with open_reader(settings) as kafka:  # before the database is read: what is published by then is stored
            return await with_connection(settings, "check", lambda connection: _check(connection, kafka))
    except (KafkaError, TimeoutError) as error:
        print(f"metering cannot ask Kafka what was published: {error!r}", file=sys.stderr)
    return await with_connection(settings, "check", _check) or NOT_RUN


async def _check(connection: Connection, kafka: KafkaReader | None = None) -> int:
    return await check_all(connection, await database_now(connection), kafka)


async def with_connection(settings: MeteringSettings, name: str, work: Callable[[Connection], Awaitable[int]]) -> int:
    """Run ``work`` with a connection. Return its exit code.

    It is 2 if the database failed.
    """
    try:
        connection = await connect(settings, f"metering-{name}")
        try:
            return await work(connection)
        finally:
            await connection.close()
    except DATABASE_ERRORS as error:
        print(f"metering cannot {name}: {error!r}", file=sys.stderr)
        return NOT_RUN


async def check_all(connection: Connection, now: datetime, kafka: KafkaReader | None = None) -> int:
    """Check everything in one snapshot of the database.

    Concurrent writes are then no difference, and do not wait.
    """
    async with connection.transaction(isolation="repeatable_read"):
        since = await recompute_days(connection, now)
        found = 0
        async for difference in find_differences(connection, since):
            found += 1
            print(difference, flush=True)
        repeated = 0
        for part in range(differences.SLICES):
            async for one in differences.identities_of_several_days(connection, part):
                repeated += 1
                print(await _named(one, kafka), flush=True)
            if (part + 1) % SLICES_PER_PROGRESS_LINE == 0:
                _print_progress(f"identities: {part + 1} of {differences.SLICES} parts compared")
        unsure = await differences.count_unsure(connection)
        lost = await _compare_published(connection, kafka, now) if kafka else 0
    print(
        f"{found or 'no'} differences to raw usage since {since:%Y-%m-%d}; {repeated} identities on several days; "
        f"{unsure} corrections were being applied"
    )
    if lost:
        print(
            f"metering.consumption has newer revisions of {lost} windows than this database: it was put back to an "
            "older state, or lost what it had. Readers ignore what is not newer: until revisions are raised beyond "
            "those, what is measured from now on is not seen"
        )
    return DIFFERENT if found or lost else EQUAL


async def _named(one: Repeated, kafka: KafkaReader | None) -> str:
    """Describe an identity.

    The id of its event is stored for corrections only; others are read from Kafka while it has them.
    """
    times = ", ".join(f"{at:%Y-%m-%dT%H:%MZ}" for at in one.times)
    name = one.event_id or (await kafka.find_id(one.source, one.digest, one.places) if kafka else None)
    places = ", ".join(f"{partition}/{offset}" for partition, offset in one.places)
    what = f"id {name}" if name else f"its id is no longer stored; read at partition/offset {places}"
    return f"identity of {one.source} on several days: {times}; {what}"


async def _compare_published(connection: Connection, kafka: KafkaReader, now: datetime) -> int:
    """Count the windows whose published revision is newer than the stored one.

    The first of them are printed.
    """
    catalogue = await Projection().refresh(connection)
    windows: set[str] = set()
    async for some in kafka.published():
        for line in await find_lost(connection, catalogue, some, now):
            place = line.partition(": ")[0]
            if place not in windows and len(windows) < SHOWN_LOST:
                print(line, flush=True)
            windows.add(place)
    return len(windows)


async def find_differences(connection: Connection, since: datetime) -> AsyncIterator[str]:
    """Yield a line for each difference. The days must be recomputed before."""
    async for line in differences.differing_windows(connection, since):
        yield line
    async for line in differences.differing_sightings(connection, since):
        yield line
    hours = await hours_since(connection, since)
    async for line in differences.differing_hours(connection, hours):
        yield line
    async for line in differences.differing_days(connection, hours):
        yield line
    async for line in differences.differing_books(connection, (since + LATE).date()):
        yield line


async def recompute_days(connection: Connection, now: datetime) -> datetime:
    """Recompute all days of raw usage.

    Return the time since which raw usage is complete.
    """
    catalogue = await Projection().refresh(connection)
    days = await recomputation.prepare(connection, catalogue)
    for number, day in enumerate(days, 1):
        await recomputation.add_day(connection, day)
        _print_progress(f"{day:%Y-%m-%d}: {number} of {len(days)} days recomputed")
    await recomputation.add_up(connection)
    return min([recomputation.instant_of((now - KEPT).date()), *days[:1]])


async def hours_since(connection: Connection, since: datetime) -> datetime:
    """Return the time since which hours are complete.

    Their retention is shorter than that of raw usage.
    """
    there = list(_starts(await partitions.load_partitions(connection)))
    return max([since, *there[:1]])


def _starts(there: list[partitions.Partition]) -> Iterator[datetime]:
    for one in there:
        if one.kind is partitions.HOURS and one.is_attached:
            yield recomputation.instant_of(one.first)


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


COMMANDS = (
    ServiceCommand("check", "compare consumption and the books with raw usage, and print every difference", check),
)
