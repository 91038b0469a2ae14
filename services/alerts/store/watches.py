"""Subscriptions under watch: loaded whole under their row locks, and saved as far as they changed."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from services.alerts.domain.crossing import Level
from services.alerts.domain.measures import Reading
from services.alerts.domain.rules import RuleName
from services.alerts.domain.watch import LevelKey, Watch
from services.alerts.store.alerts import load_open_alerts
from shared.events.ids import ProductId, SubscriptionId
from shared.events.state import SubscriptionState
from shared.runtime.postgres import Connection

_INSERT_UNKNOWN = """
INSERT INTO subscriptions (id) SELECT id FROM unnest($1::text[]) AS new (id) ORDER BY id ON CONFLICT (id) DO NOTHING
"""
_LOCK = """
SELECT id, state, window_start, next_check_at FROM subscriptions WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE
"""
_LOCK_DUE = """
SELECT id FROM subscriptions WHERE next_check_at <= $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
"""
_FIND_NEXT_CHECK = "SELECT min(next_check_at) FROM subscriptions"
_LOAD_CONSUMPTION = """
SELECT subscription, product, window_start, revision, consumed, burned_down
FROM consumption WHERE subscription = ANY($1::text[])
"""
_LOAD_LEVELS = """
SELECT subscription, rule, product, part, whole, passed, raised, previous_part, previous_whole
FROM levels WHERE subscription = ANY($1::text[])
"""
_UPDATE_SUBSCRIPTIONS = """
UPDATE subscriptions AS old SET state = new.state, window_start = new.window_start, next_check_at = new.next_check_at
FROM unnest($1::text[], $2::jsonb[], $3::timestamptz[], $4::timestamptz[])
    AS new (id, state, window_start, next_check_at)
WHERE old.id = new.id
"""
_UPSERT_CONSUMPTION = """
INSERT INTO consumption (subscription, product, window_start, revision, consumed, burned_down)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[])
ON CONFLICT (subscription, product, window_start) DO UPDATE
SET revision = excluded.revision, consumed = excluded.consumed, burned_down = excluded.burned_down
"""
_DELETE_CONSUMPTION = """
DELETE FROM consumption AS old
USING unnest($1::text[], $2::text[], $3::timestamptz[]) AS gone (subscription, product, window_start)
WHERE (old.subscription, old.product, old.window_start) = (gone.subscription, gone.product, gone.window_start)
"""
_UPSERT_LEVELS = """
INSERT INTO levels (subscription, rule, product, part, whole, passed, raised, previous_part, previous_whole, changed_at)
SELECT new.*, $10 FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::integer[], $7::integer[], $8::bigint[],
    $9::bigint[]
) AS new
ON CONFLICT (subscription, rule, product) DO UPDATE
SET part = excluded.part, whole = excluded.whole, passed = excluded.passed, raised = excluded.raised,
    previous_part = excluded.previous_part, previous_whole = excluded.previous_whole, changed_at = excluded.changed_at
"""

Watches = dict[SubscriptionId, Watch]


async def lock_watches(connection: Connection, ids: Iterable[SubscriptionId]) -> Watches:
    """Everything known of these subscriptions, locked in order of id until the transaction ends."""
    wanted = sorted(set(ids))
    await connection.execute(_INSERT_UNKNOWN, wanted)
    rows = await connection.fetch(_LOCK, wanted)
    readings: dict[str, dict[tuple[ProductId, datetime], Reading]] = {}
    for row in await connection.fetch(_LOAD_CONSUMPTION, wanted):
        reading = Reading(row["product"], row["window_start"], row["revision"], row["consumed"], row["burned_down"])
        readings.setdefault(row["subscription"], {})[reading.product, reading.window_start] = reading
    levels: dict[str, dict[LevelKey, Level]] = {}
    for row in await connection.fetch(_LOAD_LEVELS, wanted):
        key = (cast("RuleName", row["rule"]), ProductId(row["product"]) if row["product"] else None)
        levels.setdefault(row["subscription"], {})[key] = Level(*row[3:])
    alerts = await load_open_alerts(connection, wanted)
    return {
        row["id"]: Watch(
            id=row["id"],
            subscription=SubscriptionState.model_validate_json(row["state"]) if row["state"] else None,
            window_start=row["window_start"],
            next_check_at=row["next_check_at"],
            readings=readings.get(row["id"], {}),
            levels=levels.get(row["id"], {}),
            alerts=tuple(alerts.get(row["id"], ())),
        )
        for row in rows
    }


async def lock_due(connection: Connection, now: datetime, limit: int) -> list[SubscriptionId]:
    """Subscriptions that time alone has changed, passing over those that someone else holds."""
    return [row["id"] for row in await connection.fetch(_LOCK_DUE, now, limit)]


async def find_next_check(connection: Connection) -> datetime | None:
    """When time next changes a subscription."""
    return cast("datetime | None", await connection.fetchval(_FIND_NEXT_CHECK))


async def save_watches(
    connection: Connection, before: Mapping[SubscriptionId, Watch], after: Iterable[Watch], now: datetime
) -> None:
    """Write what differs; the watches were locked by this transaction."""
    changed = [watch for watch in after if watch is not before[watch.id]]
    if not changed:
        return
    rows = [
        (watch.id, watch.subscription.model_dump_json(), watch.window_start, watch.next_check_at)
        for watch in changed
        if watch.subscription is not None and _head(watch) != _head(before[watch.id])
    ]
    if rows:
        await connection.execute(_UPDATE_SUBSCRIPTIONS, *_columns(rows, 4))
    await _save_consumption(connection, before, changed)
    levels = [
        (
            watch.id, rule, product or "", level.part, level.whole, level.passed, level.raised,
            level.previous_part, level.previous_whole,
        )
        for watch in changed
        for (rule, product), level in watch.levels.items()
        if before[watch.id].levels.get((rule, product)) != level
    ]  # fmt: skip
    if levels:
        await connection.execute(_UPSERT_LEVELS, *_columns(levels, 9), now)


async def _save_consumption(
    connection: Connection, before: Mapping[SubscriptionId, Watch], changed: Sequence[Watch]
) -> None:
    new = [
        (watch.id, r.product, r.window_start, r.revision, r.consumed, r.burned_down)
        for watch in changed
        for key, r in watch.readings.items()
        if before[watch.id].readings.get(key) != r
    ]
    gone = [(watch.id, *key) for watch in changed for key in before[watch.id].readings if key not in watch.readings]
    if new:
        await connection.execute(_UPSERT_CONSUMPTION, *_columns(new, 6))
    if gone:
        await connection.execute(_DELETE_CONSUMPTION, *_columns(gone, 3))


def _head(watch: Watch) -> tuple[SubscriptionState | None, datetime | None, datetime | None]:
    return watch.subscription, watch.window_start, watch.next_check_at


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[i] for row in rows] for i in range(width)]
