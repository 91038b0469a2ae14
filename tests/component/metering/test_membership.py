"""Processes that share partitions: who restarts, who leaves, who takes over, without waiting for a session to end."""

import json
from collections.abc import Sequence

import pytest

from shared.runtime.process.clock import utc_now
from tests.conftest import TEST_PARTITIONS, StartService
from tests.support.builders.metering import event
from tests.support.drivers.metering import Metering
from tests.support.drivers.metering_clients import encoded, until
from tests.support.drivers.processes import ServiceProcess

SESSION_SECONDS = 100
"""Longer than anything here is waited for: who waits for a session to end fails."""


class Processes:
    """Several metering processes with long sessions, instead of the one of the fixture."""

    def __init__(self, metering: Metering, service_process: StartService) -> None:
        self._metering = metering
        self._start = service_process
        self._sent = 0

    async def start(self, *names: str) -> list[ServiceProcess]:
        """One process for each name; an empty name is none. Waits until the partitions have their owners."""
        assert await self._metering.process.terminate() == 0
        more = {"UNITPOOL_METERING_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS)}
        started: list[ServiceProcess] = []
        for name in names:
            named = {"UNITPOOL_METERING_GROUP_INSTANCE_ID": name} if name else {}
            started.append(self._start("metering", {**self._metering.env, **more, **named}))
            await started[-1].wait_ready()
        await self.count()
        return started

    async def send(self) -> None:
        """Some usage in every partition, which no process may have taken yet."""
        now, topic = utc_now(), f"{self._metering.prefix}usage.events"
        for partition in range(TEST_PARTITIONS):
            for _ in range(10):
                self._sent += 1
                key, value = encoded(event(f"e-{self._sent}", at=now, resource=f"r-{self._sent}"))
                await self._metering.client.send_and_wait(topic, value, key.encode(), partition=partition)

    async def count(self) -> None:
        """Send some, and wait until everything that was sent is applied, once."""
        await self.send()
        await self.all_applied()

    async def all_applied(self) -> None:
        """Wait until everything that was sent is applied, once."""
        books = await until(self._metering.books, lambda books: books["accepted"] >= self._sent)
        assert books == {"accepted": self._sent, "applied": self._sent, "duplicate": 0, "quarantined": 0}


@pytest.fixture
def processes(metering: Metering, service_process: StartService) -> Processes:
    return Processes(metering, service_process)


def moves(process: ServiceProcess) -> Sequence[str]:
    """Each time that the process was given partitions."""
    assert process.log
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return [line["ts"] for line in lines if line["event"] == "consumer_positioned"]


@pytest.mark.parametrize("crash", [False, True], ids=["SIGTERM", "SIGKILL"])
async def test_a_restart_of_a_named_process_moves_no_partition_and_waits_for_no_session(
    processes: Processes, crash: bool
) -> None:
    one, other = await processes.start("metering-1", "metering-2")
    before = len(moves(other))
    if crash:
        one.kill()
    else:
        assert await one.terminate() == 0
    await processes.send()
    one.start()
    await processes.all_applied()
    await processes.count()
    assert len(moves(other)) == before, "the other one was disturbed"


async def test_a_process_without_a_name_leaves_at_once_and_the_others_take_over(processes: Processes) -> None:
    one, other = await processes.start("", "")
    before = len(moves(other))
    assert await one.terminate() == 0
    await processes.count()
    assert len(moves(other)) > before


async def test_a_name_that_is_used_twice_loses_and_doubles_nothing(processes: Processes) -> None:
    """The two take the partitions from each other; the offsets in the database keep the sums right."""
    await processes.start("metering-1", "metering-1")
    for _ in range(3):
        await processes.count()
