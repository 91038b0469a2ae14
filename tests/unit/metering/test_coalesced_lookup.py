"""Coalesced look-ups: each answers requests made before it began."""

import asyncio
from collections.abc import Sequence

import pytest

from services.metering.api.coalesced_lookup import AT_ONCE, CoalescedLookup


class Source:
    """A source whose answers the test releases.

    The value of a key is that of the time at which the look-up begins.
    """

    def __init__(self) -> None:
        self.value = 0
        self.lookups: list[list[str]] = []
        self.permits = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def look_up(self, keys: Sequence[str]) -> list[str]:
        self.lookups.append(list(keys))
        value = self.value
        await self.permits.acquire()
        if self.error:
            raise self.error
        return [f"{key}{value}" for key in keys]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_request_is_answered_by_the_next_lookup_when_one_is_running() -> None:
    source = Source()
    coalesced = CoalescedLookup(source.look_up)
    first = asyncio.create_task(coalesced.get("a"))
    await turns()
    source.value = 1
    later = [asyncio.create_task(coalesced.get(key)) for key in "bca"]
    await turns()
    assert source.lookups == [["a"]]
    source.permits.release()
    source.permits.release()
    assert await asyncio.gather(first, *later) == ["a0", "b1", "c1", "a1"]
    assert source.lookups == [["a"], ["b", "c", "a"]]


async def test_an_error_goes_only_to_the_requests_of_its_lookup() -> None:
    source = Source()
    coalesced = CoalescedLookup(source.look_up)
    source.error = ValueError("away")
    failed = [asyncio.create_task(coalesced.get(key)) for key in "ab"]
    await turns()
    well = asyncio.create_task(coalesced.get("c"))
    source.permits.release()
    for one in failed:
        with pytest.raises(ValueError, match="away"):
            await one
    source.error = None
    source.permits.release()
    assert await well == "c0"


async def test_other_requests_are_answered_when_one_is_cancelled() -> None:
    source = Source()
    coalesced = CoalescedLookup(source.look_up)
    first = asyncio.create_task(coalesced.get("a"))
    await turns()
    gone, stays = asyncio.create_task(coalesced.get("b")), asyncio.create_task(coalesced.get("c"))
    await turns()
    gone.cancel()
    first.cancel()
    await turns()
    source.permits.release()
    source.permits.release()
    assert await stays == "c0"
    assert source.lookups[1] == ["c"]


async def test_one_lookup_answers_a_bounded_number_of_requests() -> None:
    source = Source()
    coalesced = CoalescedLookup(source.look_up)
    for _ in range(3):
        source.permits.release()
    answers = await asyncio.gather(*(coalesced.get(str(n)) for n in range(AT_ONCE + 2)))
    assert answers == [f"{n}0" for n in range(AT_ONCE + 2)]
    assert [len(keys) for keys in source.lookups] == [AT_ONCE, 2]
