"""Channels: where a subscription's alerts go."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.events.alerts import ChannelState
from shared.events.ids import SubscriptionId
from shared.runtime.postgres import Connection

_INSERT = """
INSERT INTO channels (id, subscription, kind, url, sealed_secret, created_by, created_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO NOTHING
RETURNING true
"""
_COUNT = "SELECT count(*) FROM channels WHERE subscription = $1 AND removed_at IS NULL"
_REMOVE = """
UPDATE channels SET removed_at = $3, version = version + 1
WHERE id = $1 AND subscription = $2 AND removed_at IS NULL
RETURNING id, subscription, kind, url, created_by, created_at, removed_at, version
"""
_LOAD_IN_USE = """
SELECT id, subscription FROM channels WHERE subscription = ANY($1::text[]) AND removed_at IS NULL ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class ChannelInUse:
    """A channel that new alerts go to."""

    id: str
    subscription: SubscriptionId


async def insert_channel(connection: Connection, channel: ChannelState, sealed_secret: str) -> bool:
    """Add a channel; false where the id is taken."""
    added = await connection.fetchval(
        _INSERT,
        channel.id,
        channel.subscription,
        channel.kind,
        channel.url,
        sealed_secret,
        channel.created_by,
        channel.created_at,
        channel.version,
    )
    return bool(added)


async def count_channels(connection: Connection, subscription: SubscriptionId) -> int:
    """How many a subscription has in use."""
    return int(await connection.fetchval(_COUNT, subscription))


async def remove_channel(
    connection: Connection, subscription: SubscriptionId, channel: str, at: datetime
) -> ChannelState | None:
    """Take a channel out of use; ``None`` where there is none in use of that id."""
    row = await connection.fetchrow(_REMOVE, channel, subscription, at)
    return None if row is None else ChannelState(**row)


async def load_channels_in_use(connection: Connection, subscriptions: Sequence[SubscriptionId]) -> list[ChannelInUse]:
    """The channels of these subscriptions."""
    return [ChannelInUse(**row) for row in await connection.fetch(_LOAD_IN_USE, subscriptions)]
