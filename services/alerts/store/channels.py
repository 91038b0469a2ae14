"""Channels: the webhooks that receive a subscription's alerts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.events.alerts import ChannelState
from shared.events.ids import SubscriptionId
from shared.runtime.postgres.pool import Connection

_INSERT = """
INSERT INTO channels
    (id, subscription, kind, url, created_by, created_at, version, account, sealed_secret, sealed_url)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (id) DO NOTHING
RETURNING true
"""
_COUNT = "SELECT count(*) FROM channels WHERE subscription = $1 AND removed_at IS NULL"
_REMOVE = """
UPDATE channels SET removed_at = $3, version = version + 1
WHERE id = $1 AND subscription = $2 AND removed_at IS NULL
RETURNING id, subscription, kind, url, created_by, created_at, removed_at, version
"""
_REMOVE_OF = """
UPDATE channels SET removed_at = $2, version = version + 1
WHERE created_by = $1 AND removed_at IS NULL
RETURNING id, subscription, kind, url, created_by, created_at, removed_at, version
"""
_LOCK_UNSEALED = """
SELECT id, subscription, kind, url, created_by, created_at, removed_at, version FROM channels
WHERE sealed_url IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_SEAL = "UPDATE channels SET url = $2, sealed_url = $3, version = $4 WHERE id = $1"
_LOAD_IN_USE = """
SELECT id, subscription FROM channels WHERE subscription = ANY($1::text[]) AND removed_at IS NULL ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class ChannelInUse:
    """A channel that receives new alerts."""

    id: str
    subscription: SubscriptionId


@dataclass(frozen=True, slots=True)
class NewSecrets:
    """The secrets of a new channel, sealed: its signing secret and its address."""

    signing: str
    url: str


async def insert_channel(connection: Connection, channel: ChannelState, secrets: NewSecrets, account: str) -> bool:
    """Insert a channel. Return false if the id is used already."""
    added = await connection.fetchval(
        _INSERT,
        channel.id,
        channel.subscription,
        channel.kind,
        channel.url,
        channel.created_by,
        channel.created_at,
        channel.version,
        account,
        secrets.signing,
        secrets.url,
    )
    return bool(added)


async def count_channels(connection: Connection, subscription: SubscriptionId) -> int:
    """Count a subscription's channels in use."""
    return int(await connection.fetchval(_COUNT, subscription))


async def remove_channel(
    connection: Connection, subscription: SubscriptionId, channel: str, at: datetime
) -> ChannelState | None:
    """Mark a channel as removed. Return its state.

    ``None`` is returned if no channel with this id is in use.
    """
    row = await connection.fetchrow(_REMOVE, channel, subscription, at)
    return None if row is None else ChannelState(**row)


async def remove_channels_of(connection: Connection, person: str, at: datetime) -> list[ChannelState]:
    """Mark the channels in use that a person added as removed. Return their states."""
    return [ChannelState(**row) for row in await connection.fetch(_REMOVE_OF, person, at)]


async def lock_unsealed_channels(connection: Connection, limit: int) -> list[ChannelState]:
    """Lock at most ``limit`` channels whose address is stored in plain text.

    Removed channels are among them.
    """
    return [ChannelState(**row) for row in await connection.fetch(_LOCK_UNSEALED, limit)]


async def seal_channel(connection: Connection, channel: ChannelState, sealed_url: str) -> None:
    """Replace a channel's address by its shown form, and save the sealed one."""
    await connection.execute(_SEAL, channel.id, channel.url, sealed_url, channel.version)


async def load_channels_in_use(connection: Connection, subscriptions: Sequence[SubscriptionId]) -> list[ChannelInUse]:
    """Load the channels in use of these subscriptions."""
    return [ChannelInUse(**row) for row in await connection.fetch(_LOAD_IN_USE, subscriptions)]
