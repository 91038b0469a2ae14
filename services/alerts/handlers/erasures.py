"""The end of what a person had here, when they are erased."""

from services.alerts.store.channels import remove_channels_of
from shared.events.alerts import ChannelChanged
from shared.events.erasure import ErasureState, confirmation
from shared.events.topics import ALERTS_EVENTS_TOPIC
from shared.runtime.delivery.transaction import Transaction


async def end_channels_of(tx: Transaction, erasure: ErasureState) -> None:
    """Remove the channels that an erased person added, and confirm the erasure.

    Nothing else here holds data of a person: alerts and channels name them by id.
    """
    if erasure.erased_at is None:
        return
    removed = await remove_channels_of(tx.connection, erasure.person, tx.now)
    for channel in removed:
        await tx.emit(ALERTS_EVENTS_TOPIC, channel.subscription, ChannelChanged(channel=channel), subject=channel.id)
    await tx.audit(confirmation("alerts", erasure.person, erasure.account, tx.now, {"channels": len(removed)}))
