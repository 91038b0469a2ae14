"""Usage is moved when a newer state arrives, despite concurrent transactions."""

from datetime import datetime, timedelta

import pytest

from services.metering.domain.catalogue import Catalogue
from services.metering.handlers.apply_usage import UsageApplier
from services.metering.handlers.recompute import recompute_all
from services.metering.store import projection
from services.metering.verification import EQUAL, check_all
from shared.events.state import SubscriptionState
from shared.runtime.postgres.pool import Connection
from tests.component.metering.test_apply_usage import books
from tests.component.metering.test_placement import SECOND, STATE, TINY, apply, counted, quarantined, used
from tests.support.builders.lifecycles import (
    cancelled,
    changed,
    know,
    move,
    renewed,
    settle,
)
from tests.support.builders.metering import NOW, purge, records
from tests.support.drivers.transactions import begun, transaction
from tests.support.servers.databases import connect


async def test_a_batch_that_began_before_the_cancellation_was_known_is_moved(
    connection: Connection, metering_dsn: str
) -> None:
    await know(connection, STATE)
    async with connect(metering_dsn) as other:
        batch = other.transaction()
        await batch.start()
        items = [used("u1", NOW - TINY), used("u2", NOW), used("h", NOW, "scan", "host", resource="h")]
        await UsageApplier().apply(begun(other), records(items))
        await know(connection, cancelled(STATE, NOW))
        for seconds in range(3):
            await move(connection, NOW + timedelta(seconds=2 * seconds))
        assert await connection.fetchval("SELECT count(*) FROM move_due") == 1, (
            "another transaction may still place usage by the old state"
        )
        await batch.commit()
    await settle(connection)
    assert await connection.fetchval("SELECT count(*) FROM move_due") == 0
    assert list((await counted(connection)).values()) == [1]
    assert list((await counted(connection, "host")).values()) == [0]
    assert await check_all(connection, NOW) == EQUAL


class StaleOnce(projection.Projection):
    """A projection whose next refresh misses the last change."""

    def __init__(self) -> None:
        super().__init__()
        self.is_stale = False

    async def refresh(self, connection: Connection) -> Catalogue:
        if self.is_stale:
            self.is_stale = False
            return self.catalogue
        return await super().refresh(connection)


@pytest.mark.parametrize("change", ["cancelled", "sooner"])
async def test_a_batch_makes_a_move_due_when_the_projection_changed_since_its_judgement(
    connection: Connection, change: str
) -> None:
    await know(connection, STATE)
    stale = StaleOnce()
    await stale.refresh(connection)
    middle = NOW - timedelta(days=2)
    if change == "cancelled":
        await know(connection, cancelled(STATE, middle))
    else:
        await know(connection, with_earlier_renewal(STATE, middle))
    await settle(connection)
    stale.is_stale = True
    async with transaction(connection) as tx:
        await UsageApplier(stale).apply(tx, records([used("u1", middle - TINY), used("u2", middle)]))
    await settle(connection)
    values = list((await counted(connection)).values())
    assert values == ([1] if change == "cancelled" else [1, 1])
    assert await check_all(connection, NOW) == EQUAL


def with_earlier_renewal(state: SubscriptionState, at: datetime) -> SubscriptionState:
    """Begin the second term at ``at``, before the first would have ended."""
    first = state.term.model_copy(update={"end": at})
    return changed(renewed(state.model_copy(update={"term": first, "terms": (first,)})))


async def test_purges_are_moved_when_a_cancellation_is_known_later(connection: Connection) -> None:
    await know(connection, STATE)
    seen = [used("u", NOW - SECOND, "scan", "host", resource="h"), purge("p", "h", subject="places", at=NOW)]
    await apply(connection, seen)
    await settle(connection)
    assert sum((await counted(connection, "host")).values()) == 0
    await know(connection, cancelled(STATE, NOW))
    await settle(connection)
    assert list((await counted(connection, "host")).values()) == [1]
    assert await quarantined(connection) == ["after_end"]
    assert await books(connection) == {"accepted": 2, "applied": 1, "quarantined": 1}
    assert await check_all(connection, NOW) == EQUAL


async def test_recompute_removes_usage_when_an_older_version_applied_it_outside_of_the_terms(
    connection: Connection,
) -> None:
    """The older version counted usage before the start and after the end."""
    await know(connection, STATE)
    await apply(connection, [used("u1", NOW - TINY), used("u2", NOW)])
    await know(connection, cancelled(STATE, NOW))
    await connection.execute("TRUNCATE move_due")
    assert await check_all(connection, NOW) != EQUAL
    assert await recompute_all(connection, NOW) == EQUAL
    assert await check_all(connection, NOW) == EQUAL
    assert list((await counted(connection)).values()) == [1]
    assert await quarantined(connection) == ["after_end"]
