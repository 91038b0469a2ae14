"""Final windows that change: both values are stored and published."""

from datetime import datetime, timedelta
from typing import Any

from services.metering.handlers.restate import publish_restatements
from services.metering.store.projection import Projection
from shared.events.envelope import by_type, decode
from shared.events.metering import METERING_EVENTS, WindowRestated
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from tests.component.metering.test_corrections import apply, settle
from tests.support.builders.metering import NOW, SUBSCRIPTIONS, event, purge, reversal

LONG_AGO = NOW - timedelta(days=30)
LATER = NOW + timedelta(hours=9)


async def restate(connection: Connection, at: datetime = LATER) -> list[WindowRestated]:
    async with connection.transaction():
        tx = Transaction(connection, at, service="metering")
        await publish_restatements(tx, Projection(), at, 100)
        await tx.flush()
    rows = await connection.fetch("SELECT value FROM outbox WHERE topic = 'metering.events' ORDER BY id")
    await connection.execute("DELETE FROM outbox")
    events = [decode(row["value"], by_type(METERING_EVENTS)) for row in rows]
    return [one.data for one in events if one]


def figures(one: WindowRestated) -> tuple[Any, ...]:
    return one.cause, one.before.consumed if one.before else None, one.after.consumed


async def test_a_restatement_has_both_values_when_late_usage_changes_a_final_window(connection: Connection) -> None:
    there = [event(f"u-{n}", "calls", "request", at=LONG_AGO + timedelta(minutes=n)) for n in range(3)]
    await apply(connection, there, at=LONG_AGO + timedelta(hours=1))
    assert await restate(connection) == [], "nothing was final"
    await apply(connection, [event("late-1", "calls", "request", at=LONG_AGO)], 3)
    await apply(connection, [event("late-2", "calls", "request", at=LONG_AGO), there[0]], 4)
    (one,) = await restate(connection)
    assert figures(one) == ("late_usage", 3, 5)
    assert one.before
    assert one.before.revision < one.after.revision
    assert await restate(connection) == []
    (row,) = await connection.fetch("SELECT consumed_before, consumed_after, cause, revision FROM restatement")
    assert tuple(row) == (3, 5, "late_usage", one.after.revision)


async def test_a_restatement_has_no_former_value_when_the_window_had_no_usage(connection: Connection) -> None:
    await apply(connection, [event("late", resource="a", at=LONG_AGO)])
    assert [figures(one) for one in await restate(connection)] == [("late_usage", None, 1)]


async def test_no_window_is_restated_when_late_usage_changes_nothing(connection: Connection) -> None:
    await apply(connection, [event("u", resource="a", at=LONG_AGO)], at=LONG_AGO)
    await apply(connection, [event("late", resource="a", at=LONG_AGO)], 1)
    assert await restate(connection) == []
    assert await connection.fetchval("SELECT count(*) FROM restating") == 0


async def test_final_windows_are_restated_when_corrections_change_them(connection: Connection) -> None:
    item = event("u", resource="a", at=LONG_AGO)
    other = event("v", resource="b", at=LONG_AGO)
    await apply(connection, [item, other], at=LONG_AGO)
    await apply(connection, [reversal("r", item)], 2)
    await settle(connection)
    assert [figures(one) for one in await restate(connection)] == [("reversal", 2, 1)]
    await apply(connection, [purge("p", "b", at=LONG_AGO + timedelta(hours=1))], 3)
    await settle(connection)
    assert [figures(one) for one in await restate(connection)] == [("purge", 1, 0)]
    await apply(connection, [event("late", resource="c", at=LONG_AGO), reversal("r-2", purge("p", "b"))], 4)
    await settle(connection)
    assert [figures(one) for one in await restate(connection)] == [("several", 0, 2)]


async def test_a_burn_down_restates_the_final_windows_after_the_one_that_changed(connection: Connection) -> None:
    """Windows begin on October 16th and 31st; that of November 15th is provisional."""
    windows = [NOW - timedelta(days=33), NOW - timedelta(days=20), NOW - timedelta(days=2)]
    for n, at in enumerate(windows):
        there = [event(f"u-{n}", "calls", "call", at=at, quantity=100), event(f"r-{n}", "calls", "request", at=at)]
        await apply(connection, there, n, at=at)
    await apply(connection, [event("late", "calls", "call", at=windows[0], quantity=50)], 3)
    first, second = await restate(connection)
    assert [figures(one) for one in (first, second)] == [("late_usage", 11, 16), ("late_usage", 21, 26)]
    assert first.window_end == second.window_start
    assert second.before
    assert second.before.revision < second.after.revision
    await apply(connection, [event("late-count", "calls", "request", at=windows[0])], 4)
    assert [figures(one) for one in await restate(connection)] == [("late_usage", 16, 17)], (
        "a count is restated in its window only"
    )


async def test_a_burn_down_restates_nothing_of_the_next_term(connection: Connection) -> None:
    """The next term began 17 days and 5 hours ago.

    Its first window is final in a day.
    """
    old, new = NOW - timedelta(days=19), NOW - timedelta(days=17)
    for n, at in enumerate((old, new)):
        item = event(f"u-{n}", "all", "sum-term", subject="sub-3", at=at, quantity=70)
        await apply(connection, [item], n, at=at)
    later = NOW + timedelta(days=2)
    await apply(connection, [event("late", "all", "sum-term", subject="sub-3", at=old, quantity=7)], 3, at=later)
    (one,) = await restate(connection, later)
    assert one.window_end == SUBSCRIPTIONS[2].term.start


async def test_other_windows_are_restated_when_one_cannot_be(connection: Connection) -> None:
    there = [event(f"u-{n}", "calls", "request", subject=f"sub-{n}", at=LONG_AGO) for n in (1, 2)]
    await apply(connection, there)
    await connection.execute(
        "UPDATE meter_window SET aggregate = 'NaN' FROM subscription s WHERE s.number = subscription AND s.id = 'sub-1'"
    )
    assert [one.subscription for one in await restate(connection)] == ["sub-2"]
    assert await restate(connection) == [], "it waits for its retry"
    await connection.execute("UPDATE meter_window SET aggregate = 1 WHERE aggregate = 'NaN'")
    assert [one.subscription for one in await restate(connection, LATER + timedelta(minutes=1))] == ["sub-1"]
