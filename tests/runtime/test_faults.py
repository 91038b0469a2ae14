"""A fault in every step between fetch and commit.

Nothing is lost and nothing doubled.
"""

import asyncio
import functools
from collections import Counter
from typing import Any

import pytest

from shared.runtime.delivery import consumer as consumer_module
from shared.runtime.service.definition import Runtime
from tests.runtime.test_delivery import applied, apply
from tests.runtime.test_positions import TOPIC, state
from tests.support.drivers.runtime import Bench, until

STEPS = {
    "decoding a record": "shared.runtime.patches._OurPartitionRecords._consumer_record",
    "handing over what was fetched": "aiokafka.consumer.fetcher.FetchResult.getall",
    "what FastStream asks for": "shared.runtime.kafka.batch_source.BatchConsumer._poll",
    "making a message": "shared.runtime.delivery.consumer.TopicConsumer._parse",
    "counting lag": "shared.runtime.delivery.lag.Lag.begin",
    "a batch": "shared.runtime.delivery.batch_runner.BatchRunner.run",
    "the lock": "shared.runtime.delivery.offsets.lock",
    "storing offsets": "shared.runtime.delivery.offsets.store",
    "after the commit": "shared.runtime.delivery.transaction.Transaction.committed",
    "counting what is applied": "shared.runtime.delivery.lag.Lag.end",
    "telling Kafka": "shared.runtime.delivery.offset_commits.OffsetCommits.add",
}


class Faults:
    """A fault of one function.

    Every third call fails, before or after its work, a few times.
    """

    def __init__(self, work: Any, *, after: bool) -> None:
        self._work = work
        self._after = after
        self.calls, self.failures = 0, 0

    def _is_due(self) -> bool:
        self.calls += 1
        due = self.calls % 3 == 0 and self.failures < 4
        self.failures += due
        return due

    def wrapped(self) -> Any:
        faults = self
        if asyncio.iscoroutinefunction(self._work):

            @functools.wraps(self._work)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                due = faults._is_due()
                if due and not faults._after:
                    raise MemoryError("injected")
                found = await faults._work(*args, **kwargs)
                if due:
                    raise MemoryError("injected")
                return found

            return awaited

        @functools.wraps(self._work)
        def called(*args: Any, **kwargs: Any) -> Any:
            due = faults._is_due()
            if due and not faults._after:
                raise MemoryError("injected")
            found = faults._work(*args, **kwargs)
            if due:
                raise MemoryError("injected")
            return found

        return called


@pytest.mark.timeout(180)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_records_are_applied_exactly_once_when_a_step_between_fetch_and_commit_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    monkeypatch.setattr(consumer_module, "REREAD_SECONDS", 0.2)
    monkeypatch.setattr("anyio.sleep", quick_sleep)
    target = STEPS[step]
    owner, attribute = resolve(target)
    faults = Faults(getattr(owner, attribute), after=after)
    monkeypatch.setattr(owner, attribute, faults.wrapped())
    wanted = [f"r{i}" for i in range(240)]

    def build(runtime: Runtime[Any]) -> None:
        runtime.consume_batch(TOPIC, apply, apply, max_records=7)

    await bench.send_many(TOPIC, [one.encode() for one in wanted[:120]])
    for _ in range(3):  # a fault in the delivery itself halts the consumer until a restart
        async with bench.running(build) as runtime:
            if len(await applied(bench)) < 120:
                await until(lambda: has_all_or_halted(bench, runtime, 120), what="the backlog")
            if not state(runtime).halted:
                break
    await bench.send_many(TOPIC, [one.encode() for one in wanted[120:]])
    for _ in range(5):
        async with bench.running(build) as runtime:
            await until(lambda: has_all_or_halted(bench, runtime, 240), what="the rest")
            if not state(runtime).halted:
                break
    assert faults.failures
    assert Counter(await applied(bench)) == Counter(wanted)


async def quick_sleep(seconds: float) -> None:
    """Shorten the pause of 5 s that FastStream makes after an error of Kafka."""
    await asyncio.sleep(min(seconds, 0.05))


async def has_all_or_halted(bench: Bench, runtime: Runtime[Any], count: int) -> bool:
    return state(runtime).halted or len(await applied(bench)) >= count


def resolve(target: str) -> tuple[Any, str]:
    """The object that has the attribute named by the last part of a dotted path."""
    import importlib  # noqa: PLC0415

    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:-1]:
            found = getattr(found, part)
        return found, parts[-1]
    raise LookupError(target)
