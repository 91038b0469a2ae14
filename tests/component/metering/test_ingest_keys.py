"""Ingest keys: the vendor's commands, and until when each key is accepted."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from hashlib import sha256
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from starlette.requests import Request

from services.metering.api import access
from services.metering.api.access import KeyRing
from services.metering.handlers.ingest_keys import create_ingest_key, revoke_ingest_key, rotate_ingest_key
from shared.events.commands.metering import CreateIngestKey, RevokeIngestKey, RotateIngestKey
from shared.events.envelope import Event, Payload, by_type, decode
from shared.events.ids import ProductId
from shared.events.metering import METERING_EVENTS, IngestKeyChanged, IngestKeyState
from shared.runtime.commands.decisions import Decision, Refused
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Connection
from tests.support.builders.metering import NOW

HANDLERS: dict[type[Payload], Any] = {
    CreateIngestKey: create_ingest_key,
    RotateIngestKey: rotate_ingest_key,
    RevokeIngestKey: revoke_ingest_key,
}
DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)


def hashed(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def create(key: str = "old", **changes: Any) -> CreateIngestKey:
    return CreateIngestKey(key=key, product=ProductId("scan"), secret_sha256=hashed(f"secret of {key}"), **changes)


def rotate(key: str = "old", new: str = "new", **changes: Any) -> RotateIngestKey:
    return RotateIngestKey(key=key, new_key=new, secret_sha256=hashed(f"secret of {new}"), **changes)


async def decide(connection: Connection, payload: Payload, at: datetime = NOW, *, vendor: bool = True) -> Decision:
    """Decide and carry out one command; return the decision."""
    command = Event[Any].of(
        payload, id=str(uuid4()), source="/test", time=at, actor="vera@unitpool.example", actorvendor=vendor
    )
    async with connection.transaction():
        tx = Transaction(connection, at, service="metering")
        decision: Decision = await HANDLERS[type(payload)](tx, command)
        await tx.flush()
    return decision


async def published_keys(connection: Connection) -> list[IngestKeyState]:
    rows = await connection.fetch("SELECT value FROM outbox WHERE topic = 'metering.events' ORDER BY id")
    events = [decode(row["value"], by_type(METERING_EVENTS)) for row in rows]
    return [one.data.ingest_key for one in events if one and isinstance(one.data, IngestKeyChanged)]


def code(decision: Decision) -> str | None:
    return str(decision.refusal.code) if isinstance(decision, Refused) else None


@pytest.fixture
async def pool(metering_dsn: str) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    async with asyncpg.create_pool(metering_dsn, min_size=1, max_size=2) as opened:
        yield opened


async def is_accepted(
    pool: "asyncpg.Pool[asyncpg.Record]", key: str, at: datetime, ring: KeyRing | None = None
) -> bool:
    """Return whether the key's secret is accepted at this time."""
    headers = [(b"authorization", f"Bearer secret of {key}".encode())]
    ring = ring or KeyRing(pool, lambda: at, 0)
    refused: ProblemError | None = None
    try:
        await ring.admit(Request({"type": "http", "headers": headers}))
    except ProblemError as error:
        refused = error
    assert refused is None or refused.refusal.code == "unauthenticated"
    return refused is None


async def test_both_keys_are_accepted_until_the_overlap_of_a_rotation_ends(
    connection: Connection, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    await decide(connection, create(events_per_second=7, max_body_bytes=9_000))
    assert code(await decide(connection, rotate(), NOW + DAY)) is None
    created, replaced, new = await published_keys(connection)
    assert (created.replaced_by, replaced.replaced_by, new.replaces) == (None, "new", "old")
    assert (created.version, replaced.version, new.version) == (1, 2, 1)
    assert (replaced.expires_at, new.expires_at, new.created_at) == (NOW + 2 * DAY, None, NOW + DAY)
    assert (new.product, new.events_per_second, new.max_body_bytes) == ("scan", 7, 9_000)
    end = NOW + 2 * DAY
    assert [await is_accepted(pool, key, end - MOMENT) for key in ("old", "new")] == [True, True]
    assert [await is_accepted(pool, key, end) for key in ("old", "new")] == [False, True]


async def test_a_cached_key_expires_on_time(connection: Connection, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    await decide(connection, create())
    await decide(connection, rotate(overlap_seconds=60))
    now = [NOW]
    ring = KeyRing(pool, lambda: now[0], 3600)
    assert await is_accepted(pool, "old", NOW, ring)
    now[0] = NOW + timedelta(seconds=60)
    assert not await is_accepted(pool, "old", now[0], ring)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the monotonic clock of key rings; its time is the one item."""
    shown = [0.0]
    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: shown[0]))
    return shown


async def with_cached_key(connection: Connection, pool: "asyncpg.Pool[asyncpg.Record]") -> KeyRing:
    """Return a key ring that has just cached the key ``old`` for 10 seconds."""
    await decide(connection, create())
    ring = KeyRing(pool, lambda: NOW, 10)
    assert await is_accepted(pool, "old", NOW, ring)
    return ring


async def test_a_key_in_use_is_refreshed_before_its_cache_time_ends(
    connection: Connection, pool: "asyncpg.Pool[asyncpg.Record]", seconds: list[float]
) -> None:
    ring = await with_cached_key(connection, pool)
    await decide(connection, rotate(overlap_seconds=0))
    accepted = []
    for at in (4.9, 5.0, 5.0):
        seconds[0] = at
        accepted.append(await is_accepted(pool, "old", NOW, ring))
        await asyncio.gather(*ring._renewals.values())
    assert accepted == [True, True, False], "from half of its cache time on it is looked up in the background"


async def test_a_key_is_valid_for_its_cache_time_when_the_database_is_away(
    connection: Connection, pool: "asyncpg.Pool[asyncpg.Record]", seconds: list[float]
) -> None:
    ring = await with_cached_key(connection, pool)
    await pool.close()
    for at in (5.0, 7.0, 9.9):
        seconds[0] = at
        assert await is_accepted(pool, "old", NOW, ring)
        await asyncio.gather(*ring._renewals.values(), return_exceptions=True)
    seconds[0] = 10.0
    with pytest.raises(asyncpg.InterfaceError):
        await is_accepted(pool, "old", NOW, ring)


@pytest.mark.parametrize(
    ("expires", "overlap", "until"),
    [(None, 0, timedelta(0)), (None, 60, timedelta(minutes=1)), (timedelta(hours=1), 86_400, timedelta(hours=1))],
)
async def test_the_old_key_is_accepted_until_the_overlap_ends_or_it_expires(
    connection: Connection, expires: timedelta | None, overlap: int, until: timedelta
) -> None:
    await decide(connection, create(expires_at=NOW + expires if expires else None))
    assert code(await decide(connection, rotate(overlap_seconds=overlap))) is None
    assert (await published_keys(connection))[1].expires_at == NOW + until


async def test_a_key_is_accepted_when_it_comes_from_repeated_rotations(
    connection: Connection, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    await decide(connection, create("k-0"))
    for n in range(3):
        assert code(await decide(connection, rotate(f"k-{n}", f"k-{n + 1}"), NOW + n * DAY)) is None
    good = [await is_accepted(pool, f"k-{n}", NOW + 2 * DAY + MOMENT) for n in range(4)]
    assert good == [False, False, True, True]


async def test_a_rotation_is_refused_and_changes_nothing_when_it_is_invalid(
    connection: Connection, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    await decide(connection, create())
    await decide(connection, create("other"))
    await decide(connection, create("short", expires_at=NOW + DAY))
    await decide(connection, create("gone"))
    await decide(connection, RevokeIngestKey(key="gone"))
    before = await published_keys(connection)
    refused = {
        "not the vendor": (await decide(connection, rotate(), vendor=False), "forbidden"),
        "unknown": (await decide(connection, rotate("nothing")), "not_found"),
        "revoked": (await decide(connection, rotate("gone")), "invalid_request"),
        "expired": (await decide(connection, rotate("short"), NOW + DAY), "invalid_request"),
        "expires in the past": (await decide(connection, rotate(expires_at=NOW)), "invalid_request"),
        "id taken": (await decide(connection, rotate(new="other")), "already_exists"),
        "id of itself": (await decide(connection, rotate(new="old")), "already_exists"),
    }
    assert {name: code(decision) for name, (decision, _) in refused.items()} == {
        name: wanted for name, (_, wanted) in refused.items()
    }
    assert await published_keys(connection) == before
    assert await is_accepted(pool, "old", NOW + 9 * DAY)


async def test_revoking_the_old_key_ends_its_overlap_and_not_the_new_key(
    connection: Connection, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    await decide(connection, create())
    await decide(connection, rotate())
    await decide(connection, RevokeIngestKey(key="old"), NOW + MOMENT)
    assert [await is_accepted(pool, key, NOW + MOMENT) for key in ("old", "new")] == [False, True]
