"""Sealing of channel addresses, at the start of the service.

They are those that an earlier version stored in plain text.
"""

from services.alerts.store.channels import lock_unsealed_channels, seal_channel
from shared.events.alerts import ChannelChanged, shown_address
from shared.events.topics import ALERTS_EVENTS_TOPIC
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.signing import Keys, seal


async def seal_addresses(tx: Transaction, keys: Keys, limit: int) -> int:
    """Seal at most ``limit`` addresses. Return how many.

    Their channels are published so that readers replace theirs.
    """
    channels = await lock_unsealed_channels(tx.connection, limit)
    for channel in channels:
        shown = channel.model_copy(update={"url": shown_address(channel.url), "version": channel.version + 1})
        await seal_channel(tx.connection, shown, seal(channel.url, keys))
        await tx.emit(ALERTS_EVENTS_TOPIC, shown.subscription, ChannelChanged(channel=shown), subject=shown.id)
    return len(channels)
