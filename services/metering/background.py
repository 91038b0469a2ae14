"""The background tasks of a metering process.

They publish snapshots, days and changes, replay the quarantine, apply corrections, move usage, restate windows, add
hours, and maintain the tables.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import date, timedelta

from services.metering.handlers import add_hours, apply_corrections, publish_changes, restate, retry_quarantine, upkeep
from services.metering.handlers.apply_corrections import apply_due_corrections
from services.metering.handlers.apply_usage import UsageApplier
from services.metering.handlers.move_usage import move_due_usage
from services.metering.handlers.publish_changes import publish_book_changes, publish_quarantine_changes
from services.metering.handlers.publish_days import DayRelay
from services.metering.handlers.publish_snapshots import Failed, SaveFailed, Send, SnapshotRelay
from services.metering.handlers.replay_quarantine import run_replay_step
from services.metering.handlers.restate import publish_restatements
from services.metering.handlers.retry_quarantine import replay_range, retry_quarantined
from services.metering.handlers.upkeep import delete_old, delete_old_windows, maintain_partitions
from services.metering.settings import MeteringSettings
from services.metering.store import moves, partitions, quarantine
from services.metering.store.projection import Projection, load_version
from services.metering.subscribers import UsageSubscriber
from shared.events.topics import CONSUMPTION_TOPIC, DAILY_USAGE_TOPIC, USAGE, Topic, product_of
from shared.runtime.delivery.isolation import concerns_one
from shared.runtime.delivery.lag import ConsumerState
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.set_aside_work_retries import SetAsideWorkRetries
from shared.runtime.kafka.bulk_producer import BulkProducer
from shared.runtime.kafka.producer import Producer
from shared.runtime.postgres.pool import RELAY_SESSION, connect
from shared.runtime.process.background import repeat
from shared.runtime.records import Outgoing
from shared.runtime.service.command_line import Runtime

RETRY_QUARANTINE_SECONDS = 30
"""Longest time between two checks of the quarantine.

A batch may be judged by a projection older than that of the last check.
"""
RESTATE_POLL_SECONDS = 1
PUBLISH_SECONDS = 1.0
HOURS_REST_FACTOR = 14
"""Pause after an addition of usage to hours, as a multiple of its duration."""
PUBLISHED_AT_ONCE = 1_000
"""Most changes published in one transaction.

A change is a row of the quarantine or a line of the books.
"""
RESTATED_AT_ONCE = 200
WORKS = (add_hours.WORK, apply_corrections.WORK, retry_quarantine.WORK, restate.WORK, publish_changes.WORK, upkeep.WORK)
FAILED_DELAY = timedelta(minutes=1)
"""Delay until a subscription whose usage cannot be moved is tried again."""
BACKLOG_BATCHES = 2
"""Number of full batches by which a consumer of usage may lag.

With a greater lag it has a backlog.
"""


def add_background(
    runtime: Runtime[MeteringSettings], projection: Projection, usage: Sequence[UsageSubscriber]
) -> None:
    """Register the background tasks and their readiness check.

    The check names the subscriptions whose work is set aside.
    """
    moves, snapshots, days = SetAside("moves"), SetAside("snapshots"), SetAside("days")
    works = tuple(SetAside(work) for work in WORKS)
    retries = SetAsideWorkRetries(
        runtime.transaction,
        {},
        (moves, snapshots, days, *works),
        delay_max_seconds=runtime.settings.retry_delay_max_seconds,
    )
    runtime.background("set aside", retries.run)
    runtime.health.add("set aside", retries.check)
    _add_snapshots(runtime, projection, snapshots)
    _add_replay(runtime, projection)
    _add_requested_replays(runtime, projection)
    _add_publishing(runtime)
    _add_corrections(runtime, projection)
    _add_moves(runtime, projection, moves)
    _add_restatements(runtime, projection)
    _add_hours(runtime, projection)
    _add_days(runtime, projection, days)
    _add_upkeep(runtime, projection, usage)


def _add_snapshots(runtime: Runtime[MeteringSettings], projection: Projection, aside: SetAside) -> None:
    settings, name = runtime.settings, f"{runtime.name}-snapshots"
    producer = Producer(settings, name)
    relay = SnapshotRelay(
        lambda: connect(settings, name, session=RELAY_SESSION),
        _bulk_send(producer, CONSUMPTION_TOPIC),
        runtime.clock,
        projection,
        interval_seconds=settings.snapshot_interval_seconds,
        save_failed=_save_failed(runtime, projection, aside),
        usage_waits=_usage_waits(runtime),
    )
    runtime.background("snapshots", _stopping(producer, relay.run))


def _add_replay(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    replayer = UsageApplier(projection)

    async def replay() -> None:
        catalogue_version, since = -1, 0.0

        async def replay_when_due() -> float:
            nonlocal catalogue_version, since
            version = await load_version(runtime.pool)
            if version != catalogue_version or time.monotonic() - since > RETRY_QUARANTINE_SECONDS:
                catalogue_version, since = version, time.monotonic()
                await _replay_waiting(runtime, replayer)
            return runtime.settings.replay_poll_seconds

        await repeat(replay_when_due)

    runtime.background("replay", replay)


def _add_requested_replays(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    replayer = UsageApplier(projection)

    async def replay() -> float:
        async with runtime.transaction() as tx:
            found = await run_replay_step(tx, replayer, runtime.settings.replay_records)
        return 0 if found else runtime.settings.replay_poll_seconds

    runtime.background("requested replays", lambda: repeat(replay))


def _add_publishing(runtime: Runtime[MeteringSettings]) -> None:
    async def publish() -> None:
        books_at = 0.0

        async def publish_once() -> float:
            nonlocal books_at
            async with runtime.transaction() as tx:
                await publish_quarantine_changes(tx, PUBLISHED_AT_ONCE)
            if time.monotonic() - books_at >= runtime.settings.books_seconds:
                books_at = time.monotonic()
                async with runtime.transaction() as tx:
                    await publish_book_changes(tx, PUBLISHED_AT_ONCE)
            return PUBLISH_SECONDS

        await repeat(publish_once)

    runtime.background("publish changes", publish)


def _add_corrections(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    async def correct() -> float:
        async with runtime.transaction() as tx:
            found = await apply_due_corrections(tx, projection, runtime.settings.correction_records)
        return 0 if found else runtime.settings.correction_poll_seconds

    runtime.background("corrections", lambda: repeat(correct))


def _add_moves(runtime: Runtime[MeteringSettings], projection: Projection, aside: SetAside) -> None:
    """Register the task that moves usage.

    It moves one subscription per transaction, so that a failing one delays no other.
    """

    async def move() -> float:
        due = None
        try:
            async with runtime.transaction() as tx:
                if due := await moves.lock_next(tx.connection, tx.now):
                    await move_due_usage(tx, projection, due)
                    await aside.clear(tx.connection, [str(due.id)])
        except Exception as error:
            if due is None or not concerns_one(error):
                raise
            async with runtime.transaction() as tx:
                await aside.add(tx, str(due.id), projection.catalogue.name_of(due.subscription), error)
                await moves.postpone(tx.connection, due.id, tx.now + FAILED_DELAY)
        return runtime.settings.correction_poll_seconds if due is None else 0

    runtime.background("moves", lambda: repeat(move))


def _add_restatements(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    collected = timedelta(seconds=runtime.settings.restate_after_seconds)

    async def restate() -> float:
        async with runtime.transaction() as tx:
            found = await publish_restatements(tx, projection, tx.now - collected, RESTATED_AT_ONCE)
        return RESTATE_POLL_SECONDS if found < RESTATED_AT_ONCE else 0

    runtime.background("restatements", lambda: repeat(restate))


def _add_hours(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    settings, waits, quiet_until = runtime.settings, _usage_waits(runtime), 0.0

    async def add() -> float:
        nonlocal quiet_until
        started = time.monotonic()
        if started < quiet_until and waits():
            return settings.days_interval_seconds
        await _add_hours_due(runtime, projection)
        ended = time.monotonic()
        quiet_until = ended + settings.hours_seconds
        return max(settings.days_interval_seconds, HOURS_REST_FACTOR * (ended - started))

    runtime.background("hours", lambda: repeat(add))


def _usage_waits(runtime: Runtime[MeteringSettings]) -> Callable[[], bool]:
    """Return a function that says whether usage waits to be applied."""
    batches = BACKLOG_BATCHES * runtime.settings.usage_batch_records
    return lambda: has_backlog([one.state(runtime.clock()) for one in runtime.consumers], batches)


def _add_days(runtime: Runtime[MeteringSettings], projection: Projection, aside: SetAside) -> None:
    settings, name = runtime.settings, f"{runtime.name}-days"
    producer = Producer(settings, name)
    relay = DayRelay(
        lambda: connect(settings, name, session=RELAY_SESSION),
        _bulk_send(producer, DAILY_USAGE_TOPIC),
        runtime.clock,
        projection,
        interval_seconds=settings.days_interval_seconds,
        usage_waits=_usage_waits(runtime),
        save_failed=_save_failed(runtime, projection, aside),
    )
    runtime.background("days", _stopping(producer, relay.run))


def _bulk_send(producer: Producer, topic: Topic) -> Send:
    bulk = BulkProducer(producer, topic.name)

    async def send(records: Sequence[Outgoing]) -> None:
        await bulk.send([(one.value or b"", one.key or b"") for one in records])

    return send


def _save_failed(runtime: Runtime[MeteringSettings], projection: Projection, aside: SetAside) -> SaveFailed:
    async def save(failed: Failed, done: Collection[int]) -> int:
        async with runtime.transaction() as tx:
            await aside.clear(tx.connection, [str(number) for number in done])
            for number, error in failed.items():
                await aside.add(tx, str(number), projection.catalogue.name_of(number), error)
            left = await aside.load(tx.connection, tx.now)
        return len(left.waiting) + len(left.due)

    return save


def _stopping(producer: Producer, run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    async def publish() -> None:
        try:
            await run()
        finally:
            await producer.stop()

    return publish


async def _add_hours_due(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    is_more = True
    while is_more:
        async with runtime.transaction() as tx:
            is_more = await add_hours.add_due_batches(tx, projection.catalogue)


async def _replay_waiting(runtime: Runtime[MeteringSettings], replayer: UsageApplier) -> None:
    found = 1
    while found:
        async with runtime.transaction() as tx:
            found = await retry_quarantined(tx, replayer, runtime.settings.replay_records)


async def replay_all(runtime: Runtime[MeteringSettings]) -> int:
    """``replay``: judge everything in quarantine again, whatever its reason.

    Return how many records left it.
    """
    replayer, count, done = UsageApplier(), 0, 0
    async with runtime.pool.acquire() as connection:
        last = await quarantine.load_last_id(connection)
    while True:
        async with runtime.transaction() as tx:
            left, after = await replay_range(tx, replayer, done, last, runtime.settings.replay_records)
        if after is None:
            return count
        count, done = count + left, after


def _add_upkeep(runtime: Runtime[MeteringSettings], projection: Projection, usage: Sequence[UsageSubscriber]) -> None:
    deleted_on: date | None = None
    undeleted: list[int] = []

    async def run_upkeep() -> None:
        nonlocal deleted_on, undeleted
        now = runtime.clock()
        async with runtime.pool.acquire() as connection:
            catalogue = await projection.refresh(connection)
        await _add_hours_due(runtime, projection)  # before old hours become days
        async with runtime.pool.acquire() as connection:
            known = await maintain_partitions(connection, catalogue, now)
        if deleted_on != now.date():
            async with runtime.transaction() as tx:
                is_mine = await partitions.try_lock_deletion(tx.connection)
                if is_mine:
                    await delete_old(tx, catalogue)
            if is_mine:
                deleted_on, undeleted = now.date(), sorted(catalogue.by_number)
        undeleted = await delete_old_windows(runtime.transaction, catalogue, undeleted)
        for subscriber in usage:
            subscriber.applier.known_partitions.update(known)

    async def run_upkeep_when_decidable() -> float:
        await runtime.can_decide()
        await run_upkeep()
        return runtime.settings.upkeep_seconds

    runtime.on_start(run_upkeep)
    runtime.background(
        "upkeep", lambda: repeat(run_upkeep_when_decidable, first_after_seconds=runtime.settings.upkeep_seconds)
    )


def has_backlog(consumers: Iterable[ConsumerState], records: int) -> bool:
    """Whether a consumer of usage lags by more than ``records``.

    The lag is not measured in seconds, which would also rise in a long pause.
    """
    return any(
        one.lag_records > records for one in consumers if one.topic == USAGE.name or product_of(one.topic) is not None
    )
