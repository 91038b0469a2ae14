"""Watched subscriptions.

They are loaded under their row locks, and saved as far as they changed.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import msgspec

from services.alerts.domain.crossing import Level
from services.alerts.domain.headroom import Headroom
from services.alerts.domain.measures import Reading, Readings
from services.alerts.domain.rules import RuleName
from services.alerts.domain.watch import LevelKey, Watch
from services.alerts.store.alerts import load_open_alerts
from shared.events.ids import ProductId, SubscriptionId
from shared.events.state import SubscriptionState
from shared.runtime.postgres.pool import Connection

_INSERT_UNKNOWN = """
INSERT INTO subscriptions (id) SELECT id FROM unnest($1::text[]) AS new (id) ORDER BY id ON CONFLICT (id) DO NOTHING
"""
_LOCK = """
SELECT id, readings, leeway FROM subscriptions WHERE id = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE
"""
_LOCK_DUE = """
SELECT id FROM subscriptions WHERE next_check_at <= $1 AND id <> ALL($3::text[])
ORDER BY id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
"""
_FIND_NEXT_CHECK = "SELECT min(next_check_at) FROM subscriptions"
_LOAD = """
SELECT s.id, s.window_start, s.next_check_at, states.state
FROM subscriptions AS s LEFT JOIN states ON states.subscription = s.id
WHERE s.id = ANY($1::text[])
"""
_LOAD_LEVELS = """
SELECT subscription, rule, product, part, whole, passed, raised, previous_part, previous_whole
FROM levels WHERE subscription = ANY($1::text[])
"""
_UPDATE_READINGS = """
UPDATE subscriptions AS old SET readings = new.readings
FROM unnest($1::text[], $2::json[]) AS new (id, readings)
WHERE old.id = new.id
"""
_UPDATE_SUBSCRIPTIONS = """
UPDATE subscriptions AS old
SET readings = new.readings, leeway = new.leeway, window_start = new.window_start, next_check_at = new.next_check_at
FROM unnest($1::text[], $2::json[], $3::json[], $4::timestamptz[], $5::timestamptz[])
    AS new (id, readings, leeway, window_start, next_check_at)
WHERE old.id = new.id
"""
_UPSERT_STATES = """
INSERT INTO states (subscription, state) SELECT * FROM unnest($1::text[], $2::jsonb[])
ON CONFLICT (subscription) DO UPDATE SET state = excluded.state
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

_encode = msgspec.json.Encoder().encode
_readings = msgspec.json.Decoder(list[Reading])
_headroom_decoder = msgspec.json.Decoder(Headroom)


@dataclass(frozen=True, slots=True)
class ReadingState:
    """Readings and headroom of a subscription.

    A snapshot within the headroom needs nothing else.
    """

    readings: Readings
    headroom: Headroom | None


ReadingStates = dict[SubscriptionId, ReadingState]


def decode_reading_state(readings: str, headroom: str | None) -> ReadingState:
    """Decode the columns of a row."""
    return ReadingState(
        {(one.product, one.window_start): one for one in _readings.decode(readings)},
        None if headroom is None else _headroom_decoder.decode(headroom),
    )


async def lock_reading_states(connection: Connection, ids: Iterable[SubscriptionId]) -> ReadingStates:
    """Lock subscriptions in order of id, and load their readings and headroom.

    Unknown subscriptions are inserted.
    """
    wanted = sorted(set(ids))
    rows = await connection.fetch(_LOCK, wanted)
    if len(rows) < len(wanted):
        await connection.execute(_INSERT_UNKNOWN, sorted(set(wanted) - {row["id"] for row in rows}))
        rows = await connection.fetch(_LOCK, wanted)
    return {row[0]: decode_reading_state(row[1], row[2]) for row in rows}


async def load_watches(connection: Connection, states: Mapping[SubscriptionId, ReadingState]) -> Watches:
    """Load the watches of subscriptions that this transaction has locked."""
    wanted = list(states)
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
            readings=states[row["id"]].readings,
            headroom=states[row["id"]].headroom,
            levels=levels.get(row["id"], {}),
            alerts=tuple(alerts.get(row["id"], ())),
        )
        for row in await connection.fetch(_LOAD, wanted)
    }


async def lock_watches(connection: Connection, ids: Iterable[SubscriptionId]) -> Watches:
    """Lock subscriptions in order of id, and load their watches.

    Unknown subscriptions are inserted.
    """
    return await load_watches(connection, await lock_reading_states(connection, ids))


async def lock_due(
    connection: Connection, now: datetime, limit: int, without: Sequence[str] = ()
) -> list[SubscriptionId]:
    """Lock at most ``limit`` subscriptions whose check is due.

    Those in ``without`` and those locked by others are skipped.
    """
    return [row["id"] for row in await connection.fetch(_LOCK_DUE, now, limit, without)]


async def find_next_check(connection: Connection) -> datetime | None:
    """Find the time of the next due check; ``None`` if there is none."""
    return cast("datetime | None", await connection.fetchval(_FIND_NEXT_CHECK))


async def save_readings(connection: Connection, changed: Mapping[SubscriptionId, Readings]) -> None:
    """Save readings within the headroom.

    They are of subscriptions that this transaction has locked.
    """
    await connection.execute(_UPDATE_READINGS, list(changed), [_text(readings) for readings in changed.values()])


async def save_watches(
    connection: Connection, before: Mapping[SubscriptionId, Watch], after: Collection[Watch], now: datetime
) -> None:
    """Save what changed of watches that this transaction has locked."""
    rows = [
        (watch.id, _text(watch.readings), _headroom_text(watch.headroom), watch.window_start, watch.next_check_at)
        for watch in after
        if _head(watch) != _head(before[watch.id])
    ]
    if rows:
        await connection.execute(_UPDATE_SUBSCRIPTIONS, *_columns(rows, 5))
    states = [
        (watch.id, watch.subscription.model_dump_json())
        for watch in after
        if watch.subscription is not None and watch.subscription != before[watch.id].subscription
    ]
    if states:
        await connection.execute(_UPSERT_STATES, *_columns(states, 2))
    levels = [
        (
            watch.id, rule, product or "", level.part, level.whole, level.passed, level.raised,
            level.previous_part, level.previous_whole,
        )
        for watch in after
        for (rule, product), level in watch.levels.items()
        if before[watch.id].levels.get((rule, product)) != level
    ]  # fmt: skip
    if levels:
        await connection.execute(_UPSERT_LEVELS, *_columns(levels, 9), now)


def _head(watch: Watch) -> tuple[Readings, Headroom | None, datetime | None, datetime | None]:
    return watch.readings, watch.headroom, watch.window_start, watch.next_check_at


def _text(readings: Readings) -> str:
    return _encode(list(readings.values())).decode()


def _headroom_text(headroom: Headroom | None) -> str | None:
    return None if headroom is None else _encode(headroom).decode()


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[i] for row in rows] for i in range(width)]
