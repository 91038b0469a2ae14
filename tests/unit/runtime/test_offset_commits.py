"""Offset commits to Kafka.

They are made together after a delay, and at once while partitions are revoked.
"""

import asyncio
from collections.abc import Mapping

from shared.runtime.delivery.offset_commits import COMMIT_DELAY_SECONDS, OffsetCommits


def new_commits() -> tuple[OffsetCommits, asyncio.Event, list[dict[int, int]]]:
    """Return the commits under test, the event of a revocation, and the offsets.

    The event is set while partitions are being revoked; the offsets are those that were committed.
    """
    committed: list[dict[int, int]] = []
    revoking = asyncio.Event()

    async def commit(nexts: Mapping[int, int]) -> None:
        committed.append(dict(nexts))

    return OffsetCommits(commit, revoking), revoking, committed


async def test_offsets_are_committed_together_after_the_delay() -> None:
    commits, _, committed = new_commits()
    for offset in range(1, 100):
        await commits.add({0: offset, offset % 2: offset})
    assert committed == []
    await commits.flush()
    assert committed == [{0: 99, 1: 99}]
    await commits.add({0: 100})
    await commits.flush()
    assert committed[1:] == [{0: 100}]


async def test_waiting_offsets_are_committed_at_once_when_partitions_are_revoked() -> None:
    commits, revoking, committed = new_commits()
    await commits.add({3: 7})
    revoking.set()
    async with asyncio.timeout(COMMIT_DELAY_SECONDS * 0.8):
        await commits.flush()
    assert committed == [{3: 7}]


async def test_offsets_are_committed_at_once_when_added_during_a_revocation() -> None:
    commits, revoking, committed = new_commits()
    revoking.set()
    await commits.add({3: 8})
    assert committed == [{3: 8}]
    await commits.flush()
    assert committed == [{3: 8}]
