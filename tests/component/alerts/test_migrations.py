"""Migrations of alerts: stored rows are still there afterwards."""

import shutil
from pathlib import Path

from services.alerts import main
from services.alerts.domain.measures import Reading
from services.alerts.store.watches import lock_watches
from shared.events.ids import SubscriptionId
from tests.conftest import MakeDatabase
from tests.support.builders.alerts import ACME, GUARD, SCAN, START, WINDOW, subscription
from tests.support.servers.databases import as_owner, connect

UNKNOWN = SubscriptionId("unknown")
MIGRATIONS = Path(main.__file__).with_name("migrations")


async def test_consumption_and_states_are_retained_when_they_move(database: MakeDatabase, tmp_path: Path) -> None:
    shutil.copy(MIGRATIONS / "0001_alerts.sql", tmp_path)
    state = subscription()
    readings = [Reading(SCAN, START, 7, 850, 0), Reading(GUARD, START - WINDOW, 3, 20, 20)]
    dsn = await database("alerts", tmp_path)  # type: ignore[call-arg]
    async with connect(as_owner(dsn)) as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO subscriptions (id, state) VALUES ($1, $2), ('unknown', NULL)", ACME, state.model_dump_json()
        )
        for one in readings:
            values = (one.product, one.window_start, one.revision, one.consumed, one.burned_down)
            await connection.execute("INSERT INTO consumption VALUES ($1, $2, $3, $4, $5, $6)", ACME, *values)
        await connection.execute((MIGRATIONS / "0002_leeway.sql").read_text())
        watches = await lock_watches(connection, [ACME, UNKNOWN])
    assert watches[ACME].subscription == state
    assert watches[ACME].readings == {(one.product, one.window_start): one for one in readings}
    assert watches[ACME].headroom is None
    assert (watches[UNKNOWN].subscription, watches[UNKNOWN].readings) == (None, {})


async def test_channels_get_their_customer_when_they_are_migrated(database: MakeDatabase, tmp_path: Path) -> None:
    for name in ("0001_alerts.sql", "0002_leeway.sql"):
        shutil.copy(MIGRATIONS / name, tmp_path)
    dsn = await database("alerts", tmp_path)  # type: ignore[call-arg]
    async with connect(as_owner(dsn)) as connection, connection.transaction():
        await connection.execute("INSERT INTO subscriptions (id) VALUES ($1), ('unknown')", ACME)
        await connection.execute("INSERT INTO states VALUES ($1, $2)", ACME, subscription().model_dump_json())
        for id_, of in (("c-1", ACME), ("c-2", "unknown")):
            await connection.execute(
                "INSERT INTO channels VALUES ($1, $2, 'webhook', 'https://x.example/y', 's', 'p', now(), NULL, 1)",
                id_,
                of,
            )
        await connection.execute((MIGRATIONS / "0003_channels.sql").read_text())
        rows = await connection.fetch("SELECT account, url, sealed_url FROM channels ORDER BY id")
    assert [tuple(row) for row in rows] == [("acme", "https://x.example/y", None), ("", "https://x.example/y", None)]
