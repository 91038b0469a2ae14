"""A rebuild of the read model.

No request is answered and no command decided until it is complete.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from shared.events.topics import ALERTS_COMMANDS_TOPIC
from shared.runtime.delivery import read_model_state
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.process.settings import ServiceSettings
from shared.runtime.records import Record
from shared.runtime.service import rebuild as rebuilding
from shared.runtime.service.definition import ReadModel, Runtime, ServiceDefinition
from shared.runtime.service.lifecycle import Lifecycle
from tests.runtime.test_delivery import TOPIC, all_stored, apply
from tests.runtime.test_inbox import build as build_inbox
from tests.runtime.test_inbox import command, outcomes
from tests.support.drivers.runtime import Bench, until
from tests.support.servers.databases import as_owner, connect


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_model_state, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(read_model_state, "NOTICE_SECONDS", 0.3)


async def test_a_service_answers_503_and_decides_nothing_while_its_read_model_is_rebuilt(bench: Bench) -> None:
    gate = asyncio.Event()
    gate.set()

    async def slowly(tx: Transaction, records: Sequence[Record]) -> None:
        await gate.wait()
        await apply(tx, records)

    def build(runtime: Runtime[Any]) -> None:
        runtime.consume_batch(TOPIC, slowly, max_records=5)
        build_inbox(runtime)

    definition = ServiceDefinition(
        "alerts", ServiceSettings, build, bench.migrations, read_model=ReadModel(("applied",), (TOPIC,))
    )
    async with connect(as_owner(bench.dsn)) as connection:
        await connection.execute("GRANT TRUNCATE ON applied TO PUBLIC")
    serving, emptying = (Runtime(definition, bench.settings()) for _ in range(2))
    build(serving)
    build(emptying)
    lifecycle = Lifecycle(serving)
    serving.api.state.is_open = lambda: lifecycle.is_open

    @serving.api.get("/things")
    async def things() -> list[str]:
        async with serving.pool.acquire() as connection:
            return [row["id"] for row in await connection.fetch("SELECT id FROM applied")]

    await lifecycle.start()
    try:
        await bench.send_many(TOPIC, [f"r{i}".encode() for i in range(12)])
        await until(lambda: has_stored(bench, 12))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(serving.app), base_url="http://x") as client:
            assert len((await client.get("/things")).json()) == 12
            gate.clear()
            rebuilt = asyncio.create_task(finish(emptying))
            seen: list[tuple[int, int]] = []
            while len(seen) < 20 or 503 not in {status for status, _ in seen}:
                answer = await client.get("/things")
                seen.append((answer.status_code, len(answer.json()) if answer.status_code == 200 else 0))
                await asyncio.sleep(0.02)
            assert {one for one in seen if one[0] == 200} <= {(200, 12)}, "a part of it was answered as if it were all"
            assert not (await serving.health.report())["read_model"].ok
            await bench.send_command(ALERTS_COMMANDS_TOPIC, command("while rebuilt"))
            await until(lambda: serving.consumers[1]._backoff.failures, what="a command that waits")
            assert not await bench.records("alerts.events")
            gate.set()
            await rebuilt
            await until(lambda: lifecycle.is_open)
            assert {f"r{i}" for i in range(12)} <= set((await client.get("/things")).json())
        assert len(await outcomes(bench, 1)) == 1
    finally:
        await lifecycle.stop()


async def has_stored(bench: Bench, count: int) -> bool:
    return await all_stored(bench, count)


async def finish(runtime: Runtime[Any]) -> None:
    async for _ in rebuilding.rebuild(runtime):
        pass
