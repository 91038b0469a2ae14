"""Look-ups made together: each is answered by a look that began after it was asked."""

import asyncio
from collections.abc import Sequence

import pytest

from services.metering.api.coalesced_lookup import AT_ONCE, CoalescedLookup


class Source:
    """Answers when it is told to; what a key's value is, is read when the look begins."""

    def __init__(self) -> None:
        self.value = 0
        self.looks: list[list[str]] = []
        self.go = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def look(self, keys: Sequence[str]) -> list[str]:
        self.looks.append(list(keys))
        value = self.value
        await self.go.acquire()
        if self.error:
            raise self.error
        return [f"{key}{value}" for key in keys]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_request_is_answered_by_the_next_lookup_when_one_is_running() -> None:
    source = Source()
    gathering = CoalescedLookup(source.look)
    first = asyncio.create_task(gathering.get("a"))
    await turns()
    source.value = 1
    later = [asyncio.create_task(gathering.get(key)) for key in "bca"]
    await turns()
    assert source.looks == [["a"]]
    source.go.release()
    source.go.release()
    assert await asyncio.gather(first, *later) == ["a0", "b1", "c1", "a1"]
    assert source.looks == [["a"], ["b", "c", "a"]]


async def test_an_error_goes_only_to_the_requests_of_its_lookup() -> None:
    source = Source()
    gathering = CoalescedLookup(source.look)
    source.error = ValueError("away")
    failed = [asyncio.create_task(gathering.get(key)) for key in "ab"]
    await turns()
    well = asyncio.create_task(gathering.get("c"))
    source.go.release()
    for one in failed:
        with pytest.raises(ValueError, match="away"):
            await one
    source.error = None
    source.go.release()
    assert await well == "c0"


async def test_other_requests_are_answered_when_one_is_cancelled() -> None:
    source = Source()
    gathering = CoalescedLookup(source.look)
    first = asyncio.create_task(gathering.get("a"))
    await turns()
    gone, stays = asyncio.create_task(gathering.get("b")), asyncio.create_task(gathering.get("c"))
    await turns()
    gone.cancel()
    first.cancel()
    await turns()
    source.go.release()
    source.go.release()
    assert await stays == "c0"
    assert source.looks[1] == ["c"]


async def test_one_lookup_answers_a_bounded_number() -> None:
    source = Source()
    gathering = CoalescedLookup(source.look)
    for _ in range(3):
        source.go.release()
    answers = await asyncio.gather(*(gathering.get(str(n)) for n in range(AT_ONCE + 2)))
    assert answers == [f"{n}0" for n in range(AT_ONCE + 2)]
    assert [len(keys) for keys in source.looks] == [AT_ONCE, 2]
