"""What a metering process does beside its consumers: snapshots, replays, upkeep."""

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import date, timedelta

from services.metering.handlers import add_hours, apply_corrections, publish_changes, restate, retry_quarantine, upkeep
from services.metering.handlers.apply_corrections import correct_some
from services.metering.handlers.apply_usage import UsageApplier
from services.metering.handlers.move_usage import move_some
from services.metering.handlers.publish_changes import tell_books, tell_quarantine
from services.metering.handlers.publish_snapshots import Failed, SnapshotRelay
from services.metering.handlers.replay_quarantine import work_off
from services.metering.handlers.restate import restate_some
from services.metering.handlers.retry_quarantine import replay_after, replay_some
from services.metering.handlers.upkeep import forget, forget_windows, keep_up
from services.metering.settings import MeteringSettings
from services.metering.store import moves, partitions, quarantine
from services.metering.store.projection import Projection, load_version
from services.metering.subscribers import UsageSubscriber
from shared.events.topics import CONSUMPTION_TOPIC, USAGE, product_of
from shared.runtime.delivery.isolation import concerns_one
from shared.runtime.delivery.lag import ConsumerState
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.set_aside_work_retries import SetAsideRetries
from shared.runtime.kafka.bulk_producer import BulkProducer
from shared.runtime.kafka.producer import Producer
from shared.runtime.postgres.pool import SENDERS, connect
from shared.runtime.records import Outgoing
from shared.runtime.service.command_line import Runtime

REPLAY_ANYWAY_SECONDS = 30
"""A batch may have been judged by an older projection than the last look at the quarantine knew: look again then."""
RESTATE_LOOK_SECONDS = 1
TELL_SECONDS = 1.0
TOLD_AT_ONCE = 1_000
"""However much is quarantined, no more of it is told than this, each time."""
RESTATED_AT_ONCE = 200
WORKS = (add_hours.WORK, apply_corrections.WORK, retry_quarantine.WORK, restate.WORK, publish_changes.WORK, upkeep.WORK)
POISONED = timedelta(minutes=1)
"""How long what cannot be handled waits, alone, before it is tried again."""
BACKLOG_BATCHES = 2
"""A consumer of usage that is more full batches behind than this has a backlog."""


def add_background(
    runtime: Runtime[MeteringSettings], projection: Projection, usage: Sequence[UsageSubscriber]
) -> None:
    """Register the tasks, and what makes visible whose work they have set aside."""
    moves, snapshots = SetAside("moves"), SetAside("snapshots")
    works = tuple(SetAside(work) for work in WORKS)
    retries = SetAsideRetries(
        runtime.transaction, {}, (moves, snapshots, *works), delay_max_seconds=runtime.settings.retry_delay_max_seconds
    )
    runtime.background("set aside", retries.run)
    runtime.health.add("set aside", retries.check)
    _add_snapshots(runtime, projection, snapshots)
    _add_replay(runtime, projection)
    _add_asked_replays(runtime, projection)
    _add_telling(runtime)
    _add_corrections(runtime, projection)
    _add_moves(runtime, projection, moves)
    _add_restatements(runtime, projection)
    _add_hours(runtime, projection)
    _add_upkeep(runtime, projection, usage)


def _add_snapshots(runtime: Runtime[MeteringSettings], projection: Projection, aside: SetAside) -> None:
    settings, name = runtime.settings, f"{runtime.name}-snapshots"
    producer = Producer(settings, name)
    bulk = BulkProducer(producer, CONSUMPTION_TOPIC.name)

    async def send(snapshots: Sequence[Outgoing]) -> None:
        await bulk.send([(one.value or b"", one.key or b"") for one in snapshots])

    async def note_failed(failed: Failed, done: Collection[int]) -> int:
        async with runtime.transaction() as tx:
            await aside.clear(tx.connection, [str(number) for number in done])
            for number, error in failed.items():
                await aside.add(tx, str(number), projection.catalogue.name_of(number), error)
            left = await aside.load(tx.connection, tx.now)
        return len(left.waiting) + len(left.due)

    relay = SnapshotRelay(
        lambda: connect(settings, name, session=SENDERS),
        send,
        runtime.clock,
        projection,
        interval_seconds=settings.snapshot_interval_seconds,
        note_failed=note_failed,
        usage_waits=lambda: has_backlog(
            [one.state(runtime.clock()) for one in runtime.consumers], BACKLOG_BATCHES * settings.usage_batch_records
        ),
    )

    async def publish() -> None:
        try:
            await relay.run()
        finally:
            await producer.stop()

    runtime.background("snapshots", publish)


def _add_replay(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    replayer = UsageApplier(projection)

    async def replay() -> None:
        judged_by, since = -1, 0.0
        while True:
            version = await load_version(runtime.pool)
            if version != judged_by or time.monotonic() - since > REPLAY_ANYWAY_SECONDS:
                judged_by, since = version, time.monotonic()
                await _replay_waiting(runtime, replayer)
            await asyncio.sleep(runtime.settings.replay_poll_seconds)

    runtime.background("replay", replay)


def _add_asked_replays(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    replayer = UsageApplier(projection)

    async def replay() -> None:
        while True:
            async with runtime.transaction() as tx:
                found = await work_off(tx, replayer, runtime.settings.replay_records)
            if not found:
                await asyncio.sleep(runtime.settings.replay_poll_seconds)

    runtime.background("asked replays", replay)


def _add_telling(runtime: Runtime[MeteringSettings]) -> None:
    async def tell() -> None:
        books_at = 0.0
        while True:
            async with runtime.transaction() as tx:
                await tell_quarantine(tx, TOLD_AT_ONCE)
            if time.monotonic() - books_at >= runtime.settings.books_seconds:
                books_at = time.monotonic()
                async with runtime.transaction() as tx:
                    await tell_books(tx, TOLD_AT_ONCE)
            await asyncio.sleep(TELL_SECONDS)

    runtime.background("telling", tell)


def _add_corrections(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    async def correct() -> None:
        while True:
            async with runtime.transaction() as tx:
                looked_at = await correct_some(tx, projection, runtime.settings.correction_records)
            if not looked_at:
                await asyncio.sleep(runtime.settings.correction_poll_seconds)

    runtime.background("corrections", correct)


def _add_moves(runtime: Runtime[MeteringSettings], projection: Projection, aside: SetAside) -> None:
    """One subscription in a transaction: one that cannot be moved waits alone."""

    async def move() -> None:
        while True:
            due = None
            try:
                async with runtime.transaction() as tx:
                    if due := await moves.lock_next(tx.connection, tx.now):
                        await move_some(tx, projection, due)
                        await aside.clear(tx.connection, [str(due.id)])
            except Exception as error:
                if due is None or not concerns_one(error):
                    raise
                async with runtime.transaction() as tx:
                    await aside.add(tx, str(due.id), projection.catalogue.name_of(due.subscription), error)
                    await moves.postpone(tx.connection, due.id, tx.now + POISONED)
            if due is None:
                await asyncio.sleep(runtime.settings.correction_poll_seconds)

    runtime.background("moves", move)


def _add_restatements(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    async def restate() -> None:
        gathered = timedelta(seconds=runtime.settings.restate_after_seconds)
        while True:
            async with runtime.transaction() as tx:
                found = await restate_some(tx, projection, tx.now - gathered, RESTATED_AT_ONCE)
            if found < RESTATED_AT_ONCE:
                await asyncio.sleep(RESTATE_LOOK_SECONDS)

    runtime.background("restatements", restate)


def _add_hours(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    async def add() -> None:
        while True:
            await _add_hours_due(runtime, projection)
            await asyncio.sleep(runtime.settings.hours_seconds)

    runtime.background("hours", add)


async def _add_hours_due(runtime: Runtime[MeteringSettings], projection: Projection) -> None:
    is_more = True
    while is_more:
        async with runtime.transaction() as tx:
            is_more = await add_hours.add_some(tx, projection.catalogue)


async def _replay_waiting(runtime: Runtime[MeteringSettings], replayer: UsageApplier) -> None:
    looked_at = 1
    while looked_at:
        async with runtime.transaction() as tx:
            looked_at = await replay_some(tx, replayer, runtime.settings.replay_records)


async def replay_all(runtime: Runtime[MeteringSettings]) -> int:
    """``replay``: judge everything in quarantine again, whatever its reason; how much of it left."""
    replayer, count, done = UsageApplier(), 0, 0
    async with runtime.pool.acquire() as connection:
        last = await quarantine.last_row(connection)
    while True:
        async with runtime.transaction() as tx:
            left, after = await replay_after(tx, replayer, done, last, runtime.settings.replay_records)
        if after is None:
            return count
        count, done = count + left, after


def _add_upkeep(runtime: Runtime[MeteringSettings], projection: Projection, usage: Sequence[UsageSubscriber]) -> None:
    forgot_on: date | None = None
    owed: list[int] = []

    async def look_after() -> None:
        nonlocal forgot_on, owed
        now = runtime.clock()
        async with runtime.pool.acquire() as connection:
            catalogue = await projection.refresh(connection)
        await _add_hours_due(runtime, projection)  # before old hours become days
        async with runtime.pool.acquire() as connection:
            known = await keep_up(connection, catalogue, now)
        if forgot_on != now.date():
            async with runtime.transaction() as tx:
                is_mine = await partitions.may_delete(tx.connection)
                if is_mine:
                    await forget(tx, catalogue)
            if is_mine:
                forgot_on, owed = now.date(), sorted(catalogue.by_number)
        owed = await forget_windows(runtime.transaction, catalogue, owed)
        for subscriber in usage:
            subscriber.applier.known_partitions.update(known)

    async def upkeep() -> None:
        while True:
            await asyncio.sleep(runtime.settings.upkeep_seconds)
            await runtime.can_decide()
            await look_after()

    runtime.on_start(look_after)
    runtime.background("upkeep", upkeep)


def has_backlog(consumers: Iterable[ConsumerState], records: int) -> bool:
    """Whether a consumer of usage is more than so many records behind; one long pause must not look like that."""
    return any(
        one.lag_records > records for one in consumers if one.topic == USAGE.name or product_of(one.topic) is not None
    )
