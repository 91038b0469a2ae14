"""One key whose handling fails: other keys are applied.

It is retried automatically until repaired.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from shared.events.topics import ALLOCATION_EVENTS_TOPIC, CONSUMPTION_TOPIC
from shared.runtime.delivery import set_aside
from shared.runtime.delivery.transaction import PermanentError, Transaction
from shared.runtime.process.clock import utc_now
from shared.runtime.records import Record
from shared.runtime.service.definition import Runtime
from tests.runtime.test_delivery import DEAD, all_stored, note, reader, stored
from tests.support.drivers.runtime import Bench, reason_headers, until
from tests.support.servers.databases import connect

TOPIC = ALLOCATION_EVENTS_TOPIC


class Poisoned:
    """A handler that fails on the keys in ``bad`` with ``error``.

    It inserts all other records.
    """

    def __init__(self, *bad: bytes, error: Exception | None = None) -> None:
        self.bad = set(bad)
        self.error = error or ZeroDivisionError("a bug")
        self.calls = 0

    async def __call__(self, tx: Transaction, records: Sequence[Record]) -> None:
        self.calls += 1
        for record in records:
            tx.record = record
            if record.key in self.bad:
                raise self.error
            await note(tx, record)


async def applied_in_order(bench: Bench) -> list[str]:
    async with connect(bench.dsn) as connection:
        return [row["id"] for row in await connection.fetch("SELECT id FROM applied ORDER BY ctid")]


async def waiting(bench: Bench) -> int:
    async with connect(bench.dsn) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM set_aside_records"))


def detail(runtime: Runtime[Any]) -> str:
    return runtime.consumers[0].state(utc_now()).note


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_aside, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(set_aside, "DELAY_MAX_SECONDS", 0.5)


async def send(bench: Bench, key: bytes, *values: str, partition: int = 0) -> None:
    for value in values:
        await bench.send(TOPIC, value.encode(), key=key, partition=partition)


async def test_other_keys_are_applied_when_one_key_always_fails_until_repaired(bench: Bench) -> None:
    poisoned = Poisoned(b"bad")
    async with bench.running(reader(poisoned, max_records=7), dead_letter_limit=2) as runtime:
        for number in range(20):
            await send(bench, b"good", f"good-{number}")
            await send(bench, b"bad", f"bad-{number}", partition=number % 3)
        await until(lambda: all_stored(bench, 40))
        assert [one for one in await applied_in_order(bench) if one.startswith("good")] == [
            f"good-{n}" for n in range(20)
        ]
        assert await waiting(bench) == 20
        state = runtime.consumers[0].state(utc_now())
        assert not state.halted
        assert state.fault is None
        await until(lambda: "20 records of 1 keys are set aside" in detail(runtime))
        assert "ZeroDivisionError: a bug" in detail(runtime)
        poisoned.bad.clear()
        await until(lambda: is_empty(bench), what="the key's recovery")
        await send(bench, b"bad", "bad-later")
        await until(lambda: all_stored(bench, 41))
        await until(lambda: detail(runtime) == "")
    found = await applied_in_order(bench)
    assert Counter(found) == Counter([*(f"good-{n}" for n in range(20)), *(f"bad-{n}" for n in range(20)), "bad-later"])
    assert not await bench.records(DEAD)
    in_first_partition = [one for one in found if one.startswith("bad") and one.removeprefix("bad-").isdigit()]
    firsts = [int(one.removeprefix("bad-")) for one in in_first_partition if int(one.removeprefix("bad-")) % 3 == 0]
    assert firsts == sorted(firsts)


async def is_empty(bench: Bench) -> bool:
    async with connect(bench.dsn) as connection:
        return not await connection.fetchval("SELECT count(*) FROM set_aside_keys")


async def test_only_the_first_record_is_handled_when_a_failing_key_is_very_frequent(bench: Bench) -> None:
    """Only the key's first record is handled.

    Later ones are set aside without an attempt.
    """
    poisoned = Poisoned(b"bad")
    await asyncio.gather(*(bench.send(TOPIC, b"bad", key=b"bad", partition=n % 3) for n in range(3000)))
    await send(bench, b"good", "good")
    async with bench.running(reader(poisoned, max_records=500), dead_letter_limit=2) as runtime:
        await until(lambda: all_stored(bench, 3001))
        assert await applied_in_order(bench) == ["good"]
        assert poisoned.calls < 200
        assert not runtime.consumers[0].state(utc_now()).halted
        poisoned.bad.clear()
        await until(lambda: is_empty(bench))
    assert Counter(await applied_in_order(bench)) == {"good": 1, "bad": 3000}


async def test_records_set_aside_survive_a_restart_and_later_ones_of_their_key_queue_behind_them(bench: Bench) -> None:
    poisoned = Poisoned(b"bad")
    async with bench.running(reader(poisoned)):
        await send(bench, b"bad", "first")
        await until(lambda: all_stored(bench, 1))
    async with bench.running(reader(poisoned)):
        await send(bench, b"bad", "second")
        await send(bench, b"good", "third")
        await until(lambda: all_stored(bench, 3))
        assert await applied_in_order(bench) == ["third"]
        poisoned.bad.clear()
        await until(lambda: is_empty(bench))
    assert await applied_in_order(bench) == ["third", "first", "second"]


async def test_the_next_record_is_applied_when_one_set_aside_becomes_a_dead_letter(bench: Bench) -> None:
    poisoned = Poisoned(b"bad")
    async with bench.running(reader(poisoned)):
        await send(bench, b"bad", "first", "second")
        await until(lambda: all_stored(bench, 2))
        poisoned.error = PermanentError("poisonous", "for good")
        await until(lambda: is_empty(bench))
        assert [reason_headers(one)["reason"] for one in await dead(bench, 2)] == ["poisonous", "poisonous"]
    assert await applied_in_order(bench) == []


async def dead(bench: Bench, count: int) -> list[Any]:
    async def there() -> list[Any]:
        found = await bench.records(DEAD)
        return found if len(found) >= count else []

    found: list[Any] = await until(there)
    return found


async def test_records_without_a_key_are_applied_when_another_without_a_key_is_set_aside(bench: Bench) -> None:
    async def handler(tx: Transaction, records: Sequence[Record]) -> None:
        for record in records:
            tx.record = record
            if record.value == b"bad":
                raise ZeroDivisionError("a bug")
            await note(tx, record)

    async with bench.running(reader(handler)):
        await bench.send_many(TOPIC, [b"a", b"bad", b"b", b"bad", b"c"], partitions=1)
        await until(lambda: all_stored(bench, 5))
        assert await applied_in_order(bench) == ["a", "b", "c"]
        assert await waiting(bench) == 2


async def test_only_its_key_is_set_aside_when_a_statement_always_times_out(bench: Bench) -> None:
    """A timeout is transient, so the batch is retried.

    It must not delay other keys forever.
    """
    poisoned = Poisoned(b"slow", error=asyncpg.QueryCanceledError("canceling statement due to statement timeout"))
    async with bench.running(reader(poisoned)) as runtime:
        await send(bench, b"slow", "slow")
        await until(lambda: poisoned.calls >= 3)
        assert await stored(bench) == {0: 0, 1: 0, 2: 0}  # a record that is alone in its batch is only retried
        await send(bench, b"good", "good")
        poisoned.calls = 0
        await send(bench, b"slow", "slow again")
        await asyncio.gather(*(send(bench, b"good", f"good-{n}") for n in range(5)))
        poisoned.bad.clear()
        await until(lambda: all_stored(bench, 8))
        poisoned.bad.add(b"slow")
        async with connect(bench.dsn) as connection, connection.transaction():
            await connection.execute("SELECT * FROM consumer_offsets FOR UPDATE")
            await send(
                bench, b"good", "with"
            )  # its batch waits for the locked row; the next three records make one batch
            await send(bench, b"slow", "slow with")
            await send(bench, b"good", "with")
            await until(lambda: runtime.consumers[0].state(utc_now()).lag_records == 3)
        await until(lambda: all_stored(bench, 11))
        assert Counter(await applied_in_order(bench))["with"] == 2
        poisoned.bad.clear()
        await until(lambda: is_empty(bench))
    assert len(await applied_in_order(bench)) == 11


async def test_the_consumer_halts_by_the_number_of_customers_when_everything_fails(bench: Bench) -> None:
    """All handling fails, as after a bad deploy; the keys of one customer count once."""

    async def broken(_: Transaction, records: Sequence[Record]) -> None:
        raise ZeroDivisionError(str(records))

    def build(runtime: Runtime[Any]) -> None:
        runtime.consume_batch(CONSUMPTION_TOPIC, broken, max_records=50)

    async with bench.running(build, dead_letter_limit=4) as runtime:
        for number in range(12):
            await bench.send(CONSUMPTION_TOPIC, b"x", key=b"one-customer|product|%d" % number)
        await until(lambda: all_stored(bench, 12))
        assert not runtime.consumers[0].state(utc_now()).halted
        for number in range(9):
            await bench.send(CONSUMPTION_TOPIC, b"x", key=b"customer-%d|product|1" % number)
        await until(lambda: runtime.consumers[0].halted)
        assert "keys failed within" in (runtime.consumers[0].halted or "")
    assert sum((await stored(bench)).values()) < 21


async def test_the_consumer_does_not_halt_when_one_customer_has_many_dead_letters(bench: Bench) -> None:
    async def handler(tx: Transaction, records: Sequence[Record]) -> None:
        for record in records:
            if record.key == b"bad":
                raise PermanentError("poisonous", "for good", record=record)
            await note(tx, record)

    async with bench.running(reader(handler), dead_letter_limit=2) as runtime:
        for number in range(30):
            await send(bench, b"bad", f"bad-{number}")
        await send(bench, b"good", "good")
        await until(lambda: all_stored(bench, 31))
        assert not runtime.consumers[0].state(utc_now()).halted
    assert await applied_in_order(bench) == ["good"]
    assert len(await dead(bench, 30)) == 30
