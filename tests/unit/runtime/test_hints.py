"""What Kafka is told of how far a reader is: together, soon, and at once when there is no later."""

import asyncio
from collections.abc import Mapping

from shared.runtime.delivery.offset_commits import Hints


def made() -> tuple[Hints, asyncio.Event, list[dict[int, int]]]:
    """Hints, what has them told at once, and what was told."""
    told: list[dict[int, int]] = []
    let_go = asyncio.Event()

    async def commit(nexts: Mapping[int, int]) -> None:
        told.append(dict(nexts))

    return Hints(commit, let_go), let_go, told


async def test_batches_of_half_a_second_are_told_together() -> None:
    hints, _, told = made()
    for offset in range(1, 100):
        await hints.add({0: offset, offset % 2: offset})
    assert told == []
    await hints.told()
    assert told == [{0: 99, 1: 99}]
    await hints.add({0: 100})
    await hints.told()
    assert told[1:] == [{0: 100}]


async def test_partitions_that_are_taken_away_are_told_of_before() -> None:
    hints, let_go, told = made()
    await hints.add({3: 7})
    let_go.set()
    async with asyncio.timeout(0.4):
        await hints.told()
    assert told == [{3: 7}]


async def test_a_batch_that_ends_while_partitions_are_taken_away_is_told_of_at_once() -> None:
    hints, let_go, told = made()
    let_go.set()
    await hints.add({3: 8})
    assert told == [{3: 8}]
    await hints.told()
    assert told == [{3: 8}]
