"""Processes that share partitions: restarts and takeovers before sessions end."""

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
"""Length of a session, longer than every wait of these tests.

A test thus fails when it waits for a session to end.
"""


class Processes:
    """Several metering processes with long sessions, instead of the fixture's."""

    def __init__(self, metering: Metering, service_process: StartService) -> None:
        self._metering = metering
        self._start = service_process
        self._sent = 0

    async def start(self, *names: str) -> list[ServiceProcess]:
        """Start a process for each name; wait until all partitions are assigned.

        A process with the name "" is unnamed.
        """
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
        """Send usage to every partition, assigned or not."""
        now, topic = utc_now(), f"{self._metering.prefix}usage.events"
        for partition in range(TEST_PARTITIONS):
            for _ in range(10):
                self._sent += 1
                key, value = encoded(event(f"e-{self._sent}", at=now, resource=f"r-{self._sent}"))
                await self._metering.client.send_and_wait(topic, value, key.encode(), partition=partition)

    async def count(self) -> None:
        """Send usage; wait until everything that was sent is applied once."""
        await self.send()
        await self.all_applied()

    async def all_applied(self) -> None:
        """Wait until everything that was sent is applied once."""
        books = await until(self._metering.books, lambda books: books["accepted"] >= self._sent)
        assert books == {"accepted": self._sent, "applied": self._sent, "duplicate": 0, "quarantined": 0}


@pytest.fixture
def processes(metering: Metering, service_process: StartService) -> Processes:
    return Processes(metering, service_process)


def assignments(process: ServiceProcess) -> Sequence[str]:
    """Return when the process got partitions, from its log."""
    assert process.log
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return [line["ts"] for line in lines if line["event"] == "consumer_positioned"]


@pytest.mark.parametrize("crash", [False, True], ids=["SIGTERM", "SIGKILL"])
async def test_no_partition_moves_when_a_named_process_restarts(processes: Processes, crash: bool) -> None:
    one, other = await processes.start("metering-1", "metering-2")
    before = len(assignments(other))
    if crash:
        one.kill()
    else:
        assert await one.terminate() == 0
    await processes.send()
    one.start()
    await processes.all_applied()
    await processes.count()
    assert len(assignments(other)) == before, "the other process got partitions"


async def test_others_take_over_at_once_when_a_process_without_a_name_stops(processes: Processes) -> None:
    one, other = await processes.start("", "")
    before = len(assignments(other))
    assert await one.terminate() == 0
    await processes.count()
    assert len(assignments(other)) > before


async def test_usage_is_applied_once_when_two_processes_have_the_same_name(processes: Processes) -> None:
    """They take partitions from each other; stored offsets keep the sums right."""
    await processes.start("metering-1", "metering-1")
    for _ in range(3):
        await processes.count()
