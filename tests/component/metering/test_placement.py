"""Usage at the ends of terms and spans of use, known before, with and after it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from services.metering.handlers.apply_usage import UsageApplier
from services.metering.verification import EQUAL, check_all
from shared.events.state import SubscriptionState
from shared.runtime.postgres.pool import Connection
from tests.component.metering.test_apply_usage import books
from tests.support.builders.lifecycles import (
    Reader,
    cancelled,
    changed,
    gave_up,
    know,
    renewed,
    settle,
    subscribed,
    took_again,
)
from tests.support.builders.metering import NOW, event, purge, records, reversal, subscription
from tests.support.drivers.transactions import transaction

TINY = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
BEGAN = NOW - timedelta(days=355)
STATE = subscription("places", ("scan", "calls"), start=BEGAN)
"""Its term ends 10 days from now."""


def ending(at: datetime) -> SubscriptionState:
    """Build the subscription with its end at ``at``, after a whole number of windows."""
    start = at - timedelta(days=360)
    return subscription("places", ("scan", "calls", "all"), start=start).model_copy(
        update={"term": (term := STATE.term.model_copy(update={"start": start, "end": at})), "terms": (term,)}
    )


def used(id: str, at: datetime, product: str = "calls", meter: str = "request", **data: Any) -> dict[str, Any]:
    return event(id, product, meter, subject="places", at=at, **data)


async def apply(connection: Connection, items: Sequence[Any], *, first: int = 0, at: datetime = NOW) -> None:
    async with transaction(connection, at) as tx:
        await UsageApplier().apply(tx, records(items, first=first, at=at))


async def counted(connection: Connection, meter: str = "request") -> dict[datetime, Decimal]:
    rows = await connection.fetch(
        "SELECT window_start, aggregate FROM meter_window w JOIN meter m ON m.number = w.meter"
        " WHERE m.id = $1 ORDER BY 1",
        meter,
    )
    return {row["window_start"]: row["aggregate"] for row in rows}


async def quarantined(connection: Connection) -> list[str]:
    rows = await connection.fetch("SELECT reason FROM quarantine WHERE settled_at IS NULL ORDER BY received_at, id")
    return [row["reason"] for row in rows]


async def test_usage_ahead_of_the_end_belongs_to_the_renewal_and_is_reversed_there(connection: Connection) -> None:
    """A5: usage after the end is sent before it; then a renewal and a reversal."""
    end = NOW + timedelta(minutes=1)
    state, reader = ending(end), Reader(connection)
    await know(connection, state)
    ahead = used("d1", end + timedelta(seconds=30), meter="call", quantity=50_000)
    await apply(connection, [used("d0", NOW, meter="call", quantity=10), ahead])
    await reader.read()
    assert await quarantined(connection) == ["after_end"]
    await know(connection, renewed(state))
    await settle(connection)
    assert await quarantined(connection) == []
    later = end + 2 * SECOND
    await apply(connection, [used("d2", end + SECOND, meter="call", quantity=10_000)], first=2, at=later)
    await reader.read()
    old = end - timedelta(days=15)
    assert await counted(connection, "call") == {old: 10, end: 60_000}
    await apply(connection, [reversal("r", ahead, at=later)], first=3, at=later)
    await settle(connection, later)
    await reader.read()
    assert await counted(connection, "call") == {old: 10, end: 10_000}
    shown = {one.window_start: (one.window_end, one.consumed) for one in reader.known.values()}
    assert shown == {old: (end, 1), end: (end + timedelta(days=15), 1_000)}
    assert await check_all(connection, later) == EQUAL


async def test_a_negative_aggregate_is_refused_by_a_check_constraint(connection: Connection) -> None:
    await know(connection, STATE)
    await apply(connection, [used("u", NOW)])
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("UPDATE meter_window SET aggregate = -1")


async def test_usage_before_the_start_does_not_count(connection: Connection) -> None:
    """B1: nor does it count in the floor, which comes from published windows."""
    state, reader = subscription("places", ("scan",), start=NOW), Reader(connection)
    await know(connection, state)
    before = [used(f"h{n}", NOW - TINY, "scan", "host", resource=f"h{n}") for n in range(45)]
    at_start = [used(f"g{n}", NOW, "scan", "host", resource=f"g{n}") for n in range(3)]
    await apply(connection, [*before, *at_start, purge("p", "g0", subject="places", at=NOW - TINY)])
    await settle(connection)
    assert await quarantined(connection) == ["before_start"] * 46
    assert await counted(connection, "host") == {NOW: 3}
    await reader.read()
    assert [(one.window_start, one.consumed) for one in reader.known.values()] == [(NOW, 3)]


@pytest.mark.parametrize("known_before", [True, False])
async def test_usage_counts_until_the_cancellation(connection: Connection, known_before: bool) -> None:
    """B2: half-open; usage that was applied before leaves its window and the books."""
    reader = Reader(connection)
    await know(connection, STATE)
    if known_before:
        await know(connection, cancelled(STATE, NOW))
    items = [used(f"u{n}", NOW + shift) for n, shift in enumerate([-timedelta(hours=1), -TINY, 0 * TINY, SECOND])]
    await apply(connection, items)
    await reader.read()
    if not known_before:
        await know(connection, cancelled(STATE, NOW))
    await settle(connection)
    await reader.read()
    assert list((await counted(connection)).values()) == [2]
    assert [one.consumed for one in reader.known.values()] == [2]
    assert await quarantined(connection) == ["after_end"] * 2
    assert await books(connection) == {"accepted": 4, "applied": 2, "quarantined": 2}
    assert await check_all(connection, NOW) == EQUAL
    await apply(connection, [reversal("r2", items[2]), reversal("r0", items[0])], first=4)
    await settle(connection)
    assert list((await counted(connection)).values()) == [1], "usage is removed once"
    assert await check_all(connection, NOW) == EQUAL


async def test_a_cancellation_counts_from_its_event_time_when_it_has_none_of_its_own(connection: Connection) -> None:
    """As in events from before the field existed, and the events after them."""
    await know(connection, STATE)
    bare = changed(STATE, state="cancelled")
    await know(connection, bare, NOW)
    await know(connection, changed(bare), NOW + timedelta(hours=1))
    await apply(connection, [used("u1", NOW - TINY), used("u2", NOW)])
    assert list((await counted(connection)).values()) == [1]


@pytest.mark.parametrize("form", ["spans", "newest"])
async def test_a_gap_in_use_never_counts(connection: Connection, form: str) -> None:
    """B3: given up, used nevertheless, taken again.

    ``newest``: an event of before there were spans, without the earlier ones.
    """
    await know(connection, STATE)
    end, again = NOW - timedelta(hours=5), NOW - timedelta(hours=2)
    without = gave_up(STATE, "calls", end)
    await know(connection, without)
    gap = [used("g1", end), used("g2", again - TINY)]
    await apply(connection, [used("u1", end - TINY), *gap])
    back = took_again(without, "calls", again)
    if form == "newest":
        back = back.model_copy(
            update={"products": tuple(one.model_copy(update={"earlier": ()}) for one in back.products)}
        )
    await know(connection, back)
    await know(connection, changed(back))
    await apply(connection, [used("u2", again), used("g3", end), used("u3", end - SECOND)], first=3)
    await settle(connection)
    assert list((await counted(connection)).values()) == [3]
    assert await quarantined(connection) == ["product_not_subscribed"] * 3
    assert await check_all(connection, NOW) == EQUAL


async def test_usage_applied_before_giving_up_was_known_is_back_when_the_product_is_taken_again(
    connection: Connection,
) -> None:
    await know(connection, STATE)
    minutes = [timedelta(minutes=n) for n in (-1, 1, 3)]
    await apply(connection, [used(f"u{n}", NOW + shift, quantity=5) for n, shift in enumerate(minutes)])
    await apply(
        connection,
        [used(f"h{n}", NOW + shift, "scan", "host", resource="h") for n, shift in enumerate(minutes)],
        first=3,
    )
    without = gave_up(gave_up(STATE, "calls", NOW), "scan", NOW)
    await know(connection, without)
    await settle(connection)
    assert list((await counted(connection)).values()) == [1]
    assert await books(connection) == {"accepted": 6, "applied": 2, "quarantined": 4}
    again = NOW + timedelta(minutes=2)
    await know(connection, took_again(took_again(without, "calls", again), "scan", again))
    await settle(connection)
    assert list((await counted(connection)).values()) == [2]
    assert list((await counted(connection, "host")).values()) == [1]
    assert await books(connection) == {"accepted": 6, "applied": 4, "quarantined": 2}
    assert await check_all(connection, NOW) == EQUAL


async def test_earlier_usage_counts_when_a_product_is_added_late(connection: Connection) -> None:
    await know(connection, STATE)
    early = NOW - timedelta(days=20)
    await apply(connection, [used("u", early, "web", "app", quantity=2), used("n", BEGAN - TINY, "web", "app")])
    assert sorted(await quarantined(connection)) == ["product_not_subscribed", "too_old"]
    await know(connection, subscribed(STATE, "web", NOW))
    await settle(connection)
    assert list((await counted(connection, "app")).values()) == [2]


async def test_grace_usage_is_applied_when_the_renewal_is_sold(connection: Connection) -> None:
    """D14: the renewal begins at the old end, or later: then only its usage counts."""
    end = NOW - timedelta(days=5)
    state = ending(end)
    await know(connection, state)
    times = [end - TINY, end, NOW - timedelta(days=2, seconds=1), NOW - timedelta(days=2)]
    await apply(connection, [used(f"u{n}", at) for n, at in enumerate(times)])
    assert await quarantined(connection) == ["after_end"] * 3
    await know(connection, changed(state))
    await settle(connection)
    assert await quarantined(connection) == ["after_end"] * 3
    later = renewed(state, NOW - timedelta(days=2))
    await know(connection, changed(later))
    await settle(connection)
    assert await counted(connection) == {end - timedelta(days=15): 1, NOW - timedelta(days=2): 1}
    assert await quarantined(connection) == ["after_end"] * 2
    assert await check_all(connection, NOW) == EQUAL


async def test_grace_usage_is_not_judged_again_when_the_new_state_does_not_cover_it(connection: Connection) -> None:
    state = ending(NOW - timedelta(days=5))
    await know(connection, state)
    await apply(connection, [used("u", NOW)])
    await know(connection, changed(state))
    before = await connection.fetchval("SELECT judged_version FROM quarantine")
    await settle(connection)
    assert await connection.fetchval("SELECT judged_version FROM quarantine") == before
    await know(connection, renewed(changed(state)))
    await settle(connection)
    assert list((await counted(connection)).values()) == [1]


async def test_the_window_before_a_renewal_is_published_again_when_its_end_moves(connection: Connection) -> None:
    """Otherwise readers would retain the old end, and take the window as current.

    The term is no whole number of windows long.
    """
    end = NOW - timedelta(days=5)
    state, reader = subscription("places", ("scan", "calls"), start=end - timedelta(days=365)), Reader(connection)
    await know(connection, state)
    await apply(connection, [used("u", end - TINY)])
    await reader.read()
    (before,) = reader.known.values()
    assert before.window_end > NOW
    await know(connection, renewed(state))
    await settle(connection)
    await reader.read()
    (after,) = reader.known.values()
    assert (after.window_start, after.window_end, after.consumed) == (before.window_start, end, 1)


async def test_a_burn_down_snapshot_has_the_amount_of_its_window(connection: Connection) -> None:
    """D8: beside the term to date; the amounts add up to it."""
    reader = Reader(connection)
    await know(connection, STATE)
    windows = [NOW - timedelta(days=days) for days in (34, 19, 1)]
    await apply(connection, [used(f"u{n}", at, meter="call", quantity=13) for n, at in enumerate(windows)])
    await apply(connection, [used("r", windows[1])], first=5)
    await reader.read()
    shown = [one.meters[0] for _, one in sorted(reader.known.items())]
    assert [(int(one.aggregate), one.consumed) for one in shown] == [(13, 2), (26, 3), (39, 4)]
    assert [(one.window_aggregate, one.window_consumed) for one in shown] == [
        (Decimal(13), 2),
        (Decimal(13), 1),
        (Decimal(13), 1),
    ]
    assert {one.meters[1].window_aggregate for one in reader.known.values()} == {None}, "only meters of a term have it"


async def test_other_snapshots_are_published_when_one_cannot_be_made(connection: Connection) -> None:
    reader = Reader(connection)
    await know(connection, STATE)
    await apply(connection, [used("u", NOW), event("v", "calls", "request")])
    await connection.execute(
        "UPDATE meter_window SET aggregate = 'NaN' FROM subscription s"
        " WHERE s.number = subscription AND s.id = 'places'"
    )
    await reader.read()
    assert [one.subscription for one in reader.known.values()] == ["sub-1"]
    waiting = "SELECT count(*) FROM snapshot_due WHERE not_before > $1"
    assert await connection.fetchval(waiting, NOW) == 1
    await connection.execute("UPDATE meter_window SET aggregate = 1 WHERE aggregate = 'NaN'")
    await connection.execute("UPDATE snapshot_due SET not_before = $1", NOW)
    await reader.read()
    assert len(reader.known) == 2
