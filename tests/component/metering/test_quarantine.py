"""Quarantined records are published, and replayed by command: once, in steps."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.metering.handlers.apply_usage import UsageApplier
from services.metering.handlers.book_losses import book_lost
from services.metering.handlers.publish_changes import OUTBOX_FULL, publish_book_changes, publish_quarantine_changes
from services.metering.handlers.replay_quarantine import replay_quarantine, run_replay_step
from services.metering.store import projection
from services.metering.store.unpublished_changes import decode_beginning
from shared.events.commands.metering import ReplayQuarantine
from shared.events.envelope import Event, Payload, by_type, decode
from shared.events.metering import METERING_EVENTS
from shared.events.quarantine import (
    VALUE_BYTES,
    BooksChanged,
    BooksLine,
    QuarantinedRecord,
    QuarantineReplayChanged,
    QuarantineWanted,
    UsageQuarantined,
    UsageSettled,
)
from shared.runtime.commands.decisions import Accepted, Refused
from shared.runtime.delivery import outbox
from shared.runtime.delivery.offsets import Loss
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Outgoing
from tests.component.metering.test_apply_usage import apply, books
from tests.component.metering.test_corrections import settle
from tests.support.builders.metering import NOW, PRODUCTS, event, product, records, reversal, subscription
from tests.support.drivers.transactions import transaction
from tests.support.servers.databases import connect

_KNOWN = by_type(METERING_EVENTS)


def late(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Build usage of a product that is not known yet."""
    return [event(f"l-{n}", "late", resource=f"h-{n}", **changes) for n in range(count)]


async def subscribe_late(connection: Connection) -> None:
    """Save the product, and the subscription with it."""
    async with connection.transaction():
        await projection.save(
            connection,
            [subscription("sub-1", ("scan", "calls", "web", "late"), version=2)],
            [product("late", *PRODUCTS[0].meters)],
        )


async def take_events(connection: Connection) -> list[Payload]:
    """Take the events from the outbox, without audit records."""
    rows = await connection.fetch("WITH gone AS (DELETE FROM outbox RETURNING *) SELECT * FROM gone ORDER BY id")
    events = [decode(row["value"], _KNOWN) for row in rows]
    return [one.data for one in events if one]


async def publish_and_take(connection: Connection, limit: int = 100) -> list[Payload]:
    async with connection.transaction():
        tx = Transaction(connection, NOW, service="metering")
        await publish_quarantine_changes(tx, limit)
        await publish_book_changes(tx, limit)
        await tx.flush()
    return await take_events(connection)


async def request_replay(
    connection: Connection, *, vendor: bool = True, replay: str = "r", **wanted: Any
) -> Accepted | Refused:
    command = Event[ReplayQuarantine].of(
        ReplayQuarantine(replay=replay, wanted=QuarantineWanted(**wanted)),
        id=str(uuid4()),
        source="/test",
        time=NOW,
        actor="vera@unitpool.example",
        actorvendor=vendor,
    )
    async with connection.transaction():
        tx = Transaction(connection, NOW, service="metering")
        decision = await replay_quarantine(tx, command)
        await tx.flush()
    assert isinstance(decision, Accepted | Refused)
    return decision


async def run_step(connection: Connection, applier: UsageApplier, limit: int) -> bool:
    async with transaction(connection) as tx:
        return await run_replay_step(tx, applier, limit)


async def replayed(connection: Connection, limit: int = 3) -> list[QuarantineReplayChanged]:
    """Run the replay to its end; return the event of each step."""
    applier = UsageApplier()
    while await run_step(connection, applier, limit):
        pass
    return [one for one in await take_events(connection) if isinstance(one, QuarantineReplayChanged)]


async def test_each_change_of_the_quarantine_is_published_once(connection: Connection) -> None:
    await apply(connection, records([*late(2), event("ok", resource="a"), None]))
    first = [one.record for one in await publish_and_take(connection) if isinstance(one, UsageQuarantined)]
    assert [(one.reason, one.product, one.event_id, one.version) for one in first] == [
        ("unknown_product", "late", "l-0", 1),
        ("unknown_product", "late", "l-1", 1),
        ("malformed", "unknown", None, 1),
    ]
    assert json.loads(first[0].value or "")["id"] == "l-0"
    assert (first[2].value, first[2].value_bytes) == (None, None)
    assert await publish_and_take(connection) == []
    await subscribe_late(connection)
    await request_replay(connection)
    await replayed(connection)
    settled = [one for one in await publish_and_take(connection) if isinstance(one, UsageSettled)]
    assert [(one.record, one.settled_as, one.version) for one in settled] == [
        (first[0].id, "applied", 2),
        (first[1].id, "applied", 2),
    ]


async def test_events_are_in_order_when_a_row_is_settled_before_it_is_published(connection: Connection) -> None:
    await apply(connection, records(late(1)))
    await subscribe_late(connection)
    await request_replay(connection)
    await replayed(connection)
    of_the_record = [
        one for one in await publish_and_take(connection) if isinstance(one, UsageQuarantined | UsageSettled)
    ]
    assert [type(one) for one in of_the_record] == [UsageQuarantined, UsageSettled]


async def test_a_value_is_cut_and_published_with_its_length_when_it_is_long(connection: Connection) -> None:
    long = ("ü" * 5_000).encode()
    await apply(connection, records([long]))
    (record,) = [one.record for one in await publish_and_take(connection) if isinstance(one, UsageQuarantined)]
    assert isinstance(record, QuarantinedRecord)
    assert (record.value, record.value_bytes) == ("ü" * (VALUE_BYTES // 2), len(long))
    assert await connection.fetchval("SELECT value FROM quarantine") == long


def test_a_character_is_left_out_when_the_value_is_cut_within_it() -> None:
    assert decode_beginning("aü".encode()[:2], 3) == "a"
    assert decode_beginning(b"a\xc3", 2) == "a�"
    assert decode_beginning(b"\x00\xff", 9) == "\x00�"


async def test_no_change_is_published_when_the_outbox_is_full(connection: Connection) -> None:
    await apply(connection, records(late(1)))
    await outbox.insert(connection, [Outgoing("metering.events", b"k", b"{}")] * OUTBOX_FULL)
    async with connection.transaction():
        tx = Transaction(connection, NOW, service="metering")
        assert (await publish_quarantine_changes(tx, 10), await publish_book_changes(tx, 10)) == (0, 0)
    await connection.execute("TRUNCATE outbox")
    assert len(await publish_and_take(connection)) == 2


async def test_a_row_is_published_later_when_it_is_locked(connection: Connection, metering_dsn: str) -> None:
    await apply(connection, records(late(2)))
    async with connect(metering_dsn) as other, other.transaction():
        await other.execute("UPDATE quarantine SET detail = 'x' WHERE event_id = 'l-0'")
        await other.execute("UPDATE book SET accepted = accepted")
        seen = await publish_and_take(connection)
    assert [one.record.event_id for one in seen if isinstance(one, UsageQuarantined)] == ["l-1"]
    assert not [one for one in seen if isinstance(one, BooksChanged)]
    assert len(await publish_and_take(connection)) == 2


async def test_a_replay_runs_in_steps_and_counts_nothing_twice(connection: Connection) -> None:
    await apply(connection, records([*late(5), *late(2), event("x", "none", resource="a")]))
    await subscribe_late(connection)
    decision = await request_replay(connection)
    assert isinstance(decision, Accepted)
    assert await request_replay(connection) != decision, "a replay with this id exists"
    later = records([event("after", "none", resource="a")], first=50)
    await apply(connection, later)
    steps = [one.replay for one in await replayed(connection)]
    assert [(one.state, one.judged) for one in steps] == [
        ("waiting", 0),
        ("running", 3),
        ("running", 6),
        ("finished", 8),
    ]
    assert [one.version for one in steps] == [1, 2, 3, 4]
    last = steps[-1]
    assert (last.total, last.applied, last.duplicate, last.quarantined) == (8, 5, 2, 1)
    assert await books(connection) == {"accepted": 9, "applied": 5, "duplicate": 2, "quarantined": 2}
    await request_replay(connection, replay="again")
    again = (await replayed(connection))[-1].replay
    assert (again.judged, again.applied, again.quarantined) == (2, 0, 2)
    assert await books(connection) == {"accepted": 9, "applied": 5, "duplicate": 2, "quarantined": 2}


@pytest.mark.parametrize(
    ("wanted", "judged"),
    [
        ({"reason": "unknown_product"}, 3),
        ({"reason": "unknown_subscription"}, 1),
        ({"source": "/platforms/late"}, 2),
        ({"product": "none", "reason": "unknown_product"}, 1),
        ({"subscription": "nobody"}, 1),
        ({"start": NOW + timedelta(hours=1)}, 1),
        ({"end": NOW + timedelta(hours=1)}, 3),
        ({"source": "/platforms/scan", "start": NOW + timedelta(hours=1)}, 0),
    ],
)
async def test_only_selected_records_are_replayed_when_a_filter_is_given(
    connection: Connection, wanted: dict[str, Any], judged: int
) -> None:
    await apply(connection, records([*late(2), event("s", subject="nobody", resource="a")]))
    await apply(connection, records([event("x", "none", resource="a")], first=9, at=NOW + timedelta(hours=1)))
    await request_replay(connection, **wanted)
    assert (await replayed(connection))[-1].replay.judged == judged


async def test_only_one_record_is_replayed_when_its_id_is_given(connection: Connection) -> None:
    await apply(connection, records(late(3)))
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM quarantine ORDER BY id")]
    await subscribe_late(connection)
    await request_replay(connection, id=str(ids[1]))
    assert (await replayed(connection))[-1].replay.applied == 1
    left = await connection.fetch("SELECT id FROM quarantine WHERE settled_at IS NULL ORDER BY id")
    assert [row["id"] for row in left] == [ids[0], ids[2]]
    refused = await request_replay(connection, replay="other", id="999999")
    assert isinstance(refused, Refused)
    assert refused.refusal.code == "not_found"


async def test_a_wrong_reversal_stays_one_row_when_it_is_replayed_repeatedly(connection: Connection) -> None:
    item = event("u", "calls", "call", quantity=2)
    wrong = {**reversal("r", item), "subject": "sub-2"}
    await apply(connection, records([item, wrong]))
    await settle(connection)
    before = await connection.fetchrow("SELECT * FROM quarantine")
    for n in range(3):
        await request_replay(connection, replay=f"r-{n}", id=str(before["id"]) if before and n else None)
        last = (await replayed(connection))[-1].replay
        assert (last.judged, last.applied, last.duplicate, last.quarantined) == (1, 0, 0, 1)
        await settle(connection)
        (after,) = await connection.fetch("SELECT * FROM quarantine")
        assert after == before
    assert await books(connection) == {"accepted": 2, "applied": 1, "quarantined": 1}


async def test_a_reversal_is_applied_by_a_replay_when_its_target_is_known(connection: Connection) -> None:
    item = event("u", "calls", "call", quantity=2)
    wrong = {**reversal("r", item), "subject": "sub-9"}
    await apply(connection, records([item, wrong]))
    async with connection.transaction():
        await projection.save(connection, [subscription("sub-9", ("scan", "calls"))], [])
    await request_replay(connection)
    assert (await replayed(connection))[-1].replay.quarantined == 1, "its target is known, but of another subscription"
    waiting = {**reversal("r-2", event("later", "calls", "call")), "subject": "sub-10"}
    await apply(connection, records([waiting], first=5))
    async with connection.transaction():
        await projection.save(connection, [subscription("sub-10", ("scan", "calls"))], [])
    await request_replay(connection, replay="again")
    assert (await replayed(connection))[-1].replay.applied == 1, "it waits for its target"


async def test_only_the_vendor_replays(connection: Connection) -> None:
    refused = await request_replay(connection, vendor=False)
    assert isinstance(refused, Refused)
    assert refused.refusal.code == "forbidden"


async def test_the_end_of_a_replay_is_audited(connection: Connection) -> None:
    await apply(connection, records(late(1)))
    await request_replay(connection)
    await run_step(connection, UsageApplier(), 10)
    rows = await connection.fetch("SELECT value FROM outbox WHERE topic = 'audit.events'")
    (record,) = [json.loads(row["value"])["data"]["record"] for row in rows]
    assert (record["action"], record["actor"], record["object"]) == (
        "finish-quarantine-replay",
        "vera@unitpool.example",
        "r",
    )
    assert record["after"] == {"judged": 1, "applied": 0, "duplicate": 0}


async def test_a_replay_completes_rows_when_an_older_version_read_less(connection: Connection) -> None:
    await apply(connection, records([event("u", resource="a"), event("u", resource="b")]))
    await connection.execute("UPDATE quarantine SET subscription = NULL, event_id = NULL")
    await publish_and_take(connection)
    await request_replay(connection)
    await replayed(connection)
    ((record),) = [one.record for one in await publish_and_take(connection) if isinstance(one, UsageQuarantined)]
    assert (record.reason, record.subscription, record.event_id, record.version) == (
        "identity_conflict",
        "sub-1",
        "u",
        2,
    )
    await request_replay(connection, replay="again")
    await replayed(connection)
    assert not [one for one in await publish_and_take(connection) if isinstance(one, UsageQuarantined)], (
        "nothing is published again"
    )


async def test_lost_records_are_published_in_the_books(connection: Connection) -> None:
    await apply(connection, records([event("u", resource="a")]))
    for topic, loss in (
        ("usage.events", Loss(0, 3, 10, "expired")),
        ("usage.events", Loss(0, 20, 25, "skipped")),
        ("usage.events.scan", Loss(1, 0, 2, "expired")),
    ):
        async with connection.transaction():
            await book_lost(Transaction(connection, NOW, service="metering"), topic, loss)
    lines = [one.line for one in await publish_and_take(connection) if isinstance(one, BooksChanged)]
    assert {(one.source, one.product): (one.accepted, one.lost) for one in lines} == {
        ("unknown", "unknown"): (0, 12),
        ("unknown", "scan"): (0, 2),
        ("/platforms/scan", "scan"): (1, 0),
    }
    assert {one.day for one in lines} == {NOW.date()}
    assert await books(connection) == {"accepted": 1, "applied": 1}


async def test_published_lines_equal_the_books(connection: Connection) -> None:
    rng, applier, known = random.Random(3), UsageApplier(), dict[tuple[Any, ...], BooksLine]()
    everything = [*late(20), *(event(f"ok-{n}", resource=f"h-{n}") for n in range(20)), None, b"bad"]
    for part in range(6):
        batch = records(rng.choices(everything, k=15), first=part * 20, partition=part % 3)
        await apply(connection, batch, applier)
        if part == 4:
            await subscribe_late(connection)
            await request_replay(connection)
            await replayed(connection)
        note(known, await publish_and_take(connection, rng.choice([1, 3, 100])))
    for _ in range(20):
        note(known, await publish_and_take(connection))
    totals = Counter[str]()
    for line in known.values():
        assert line.accepted == line.applied + line.duplicate + line.quarantined
        totals.update({name: getattr(line, name) for name in ("accepted", "applied", "duplicate", "quarantined")})
    assert +totals == await books(connection)


def note(known: dict[tuple[Any, ...], BooksLine], payloads: Sequence[Payload]) -> None:
    """Save the newest revision of each line, as a reader does."""
    for one in payloads:
        if isinstance(one, BooksChanged):
            line = one.line
            key = (line.day, line.source, line.product)
            assert key not in known or known[key].revision < line.revision
            known[key] = line
