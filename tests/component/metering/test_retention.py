"""Retention of quarantined usage, and until when a replay cannot count it twice."""

from datetime import datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from services.metering.handlers.apply_usage import UsageApplier
from services.metering.handlers.retry_quarantine import replay_range
from services.metering.handlers.upkeep import delete_old
from services.metering.store import partitions
from services.metering.store.projection import Projection, save
from shared.runtime.postgres.pool import Connection
from tests.component.metering.test_apply_usage import apply
from tests.support.builders.metering import NOW, PRODUCTS, event, product, records
from tests.support.drivers.transactions import begun, transaction

DAY = timedelta(days=1)


async def replay(connection: Connection, now: datetime) -> int:
    """Replay everything in quarantine; return how many records were settled."""
    async with transaction(connection, now) as tx:
        left, _ = await replay_range(tx, UsageApplier(), 0, 2**60, 100)
    return left


async def upkeep(connection: Connection, now: datetime) -> None:
    async with transaction(connection, now) as tx:
        await delete_old(tx, await Projection().refresh(connection))


async def stored_ids(connection: Connection) -> list[str]:
    return [row["event_id"] for row in await connection.fetch("SELECT event_id FROM quarantine ORDER BY id")]


async def waiting_for_late(connection: Connection) -> None:
    """Quarantine two events of an unknown product, then save that product."""
    await apply(connection, records([event("a", "late", resource="r"), event("b", "late", "else", resource="r")]))
    assert await stored_ids(connection) == ["a", "b"]
    async with connection.transaction():
        await save(connection, [], [product("late", *PRODUCTS[0].meters)])
        await connection.execute("UPDATE subscription SET state = replace(state, '\"scan\"', '\"late\"')")


async def test_quarantine_rows_are_deleted_only_when_they_are_settled(connection: Connection) -> None:
    await waiting_for_late(connection)
    assert await replay(connection, NOW) == 1
    await connection.execute("UPDATE quarantine SET untold = false")
    longest = max(partitions.USAGE.kept_days, 36 + 15 + 10)
    await upkeep(connection, NOW + longest * DAY)
    assert await stored_ids(connection) == ["a", "b"]
    await upkeep(connection, NOW + longest * DAY + timedelta(seconds=1))
    assert await stored_ids(connection) == ["b"]
    await upkeep(connection, NOW + 2000 * DAY)
    assert await stored_ids(connection) == ["b"]


async def test_a_settled_row_is_retained_when_it_is_unpublished(connection: Connection) -> None:
    await waiting_for_late(connection)
    await replay(connection, NOW)
    await upkeep(connection, NOW + 2000 * DAY)
    assert await stored_ids(connection) == ["a", "b"]


async def test_deleted_rows_are_counted_when_the_transaction_has_committed(connection: Connection) -> None:
    await waiting_for_late(connection)
    assert await replay(connection, NOW) == 1
    await connection.execute("UPDATE quarantine SET untold = false")
    catalogue, later = await Projection().refresh(connection), NOW + 2000 * DAY
    before = deleted_rows()
    undone = connection.transaction()
    await undone.start()
    await delete_old(begun(connection, later), catalogue)
    await undone.rollback()
    assert deleted_rows() == before
    await upkeep(connection, later)
    assert deleted_rows() == before + 1


def deleted_rows() -> float:
    """Return the number of deleted rows of the quarantine, from the metric."""
    return REGISTRY.get_sample_value("unitpool_upkeep_forgotten_rows_total", {"table": "quarantine"}) or 0.0


@pytest.mark.parametrize(("days", "applied"), [(60, 1), (61, 0)])
async def test_usage_is_replayed_only_when_its_identities_are_still_stored(
    connection: Connection, days: int, applied: int
) -> None:
    """Afterwards they are dropped, so the usage stays quarantined as ``too_old``."""
    await waiting_for_late(connection)
    assert await replay(connection, NOW + days * DAY) == applied
    assert await connection.fetchval("SELECT count(*) FROM usage") == applied
    reasons = [row["reason"] for row in await connection.fetch("SELECT reason FROM quarantine ORDER BY id")]
    assert reasons == ["unknown_product" if applied else "too_old", "unknown_meter"]
    book = await connection.fetchrow("SELECT sum(applied) AS applied, sum(quarantined) AS quarantined FROM book")
    assert book
    assert (book["applied"], book["quarantined"]) == (applied, 2 - applied)
