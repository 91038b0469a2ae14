"""What was placed by an older knowledge is moved when a newer one comes, whatever is under way meanwhile."""

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
        assert await connection.fetchval("SELECT count(*) FROM move_due") == 1, "somebody may still place by the old"
        await batch.commit()
    await settle(connection)
    assert await connection.fetchval("SELECT count(*) FROM move_due") == 0
    assert list((await counted(connection)).values()) == [1]
    assert list((await counted(connection, "host")).values()) == [0]
    assert await check_all(connection, NOW) == EQUAL


class BehindOnce(projection.Projection):
    """Does not hear of the last change when it first looks."""

    def __init__(self) -> None:
        super().__init__()
        self.is_behind = False

    async def refresh(self, connection: Connection) -> Catalogue:
        if self.is_behind:
            self.is_behind = False
            return self.catalogue
        return await super().refresh(connection)


@pytest.mark.parametrize("change", ["cancelled", "sooner"])
async def test_a_batch_makes_a_move_due_when_the_projection_changed_since_its_judgement(
    connection: Connection, change: str
) -> None:
    await know(connection, STATE)
    behind = BehindOnce()
    await behind.refresh(connection)
    middle = NOW - timedelta(days=2)
    if change == "cancelled":
        await know(connection, cancelled(STATE, middle))
    else:
        await know(connection, sooner(STATE, middle))
    await settle(connection)
    behind.is_behind = True
    async with transaction(connection) as tx:
        await UsageApplier(behind).apply(tx, records([used("u1", middle - TINY), used("u2", middle)]))
    await settle(connection)
    values = list((await counted(connection)).values())
    assert values == ([1] if change == "cancelled" else [1, 1])
    assert await check_all(connection, NOW) == EQUAL


def sooner(state: SubscriptionState, at: datetime) -> SubscriptionState:
    """A second term begins before the first would have ended."""
    first = state.term.model_copy(update={"end": at})
    return changed(renewed(state.model_copy(update={"term": first, "terms": (first,)})))


async def test_purges_are_moved_as_usage_is(connection: Connection) -> None:
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


async def test_recompute_takes_out_what_an_older_version_applied(connection: Connection) -> None:
    """It counted usage of before the start and after the end."""
    await know(connection, STATE)
    await apply(connection, [used("u1", NOW - TINY), used("u2", NOW)])
    await know(connection, cancelled(STATE, NOW))
    await connection.execute("TRUNCATE move_due")
    assert await check_all(connection, NOW) != EQUAL
    assert await recompute_all(connection, NOW) == EQUAL
    assert await check_all(connection, NOW) == EQUAL
    assert list((await counted(connection)).values()) == [1]
    assert await quarantined(connection) == ["after_end"]
