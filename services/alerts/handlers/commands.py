"""The commands: acknowledge an alert, add and remove a channel."""

import base64
import binascii
from datetime import timedelta
from typing import Any

from services.alerts.domain.access import Deed, not_found, refusal_for
from services.alerts.domain.addresses import fault_of_url
from services.alerts.domain.watch import acknowledge
from services.alerts.store.alerts import find_alert, upsert_alerts
from services.alerts.store.channels import count_channels, insert_channel, remove_channel
from services.alerts.store.watches import lock_watches
from shared.events.alerts import AlertAcknowledged, ChannelChanged, ChannelState
from shared.events.commands.alerts import AcknowledgeAlert, AddChannel, RemoveChannel
from shared.events.envelope import Event
from shared.events.ids import SubscriptionId
from shared.events.refusals import Refusal
from shared.events.state import SubscriptionState
from shared.events.topics import ALERTS_EVENTS_TOPIC
from shared.runtime.delivery import Transaction, TransientError
from shared.runtime.inbox import Accepted, AuditEntry, Decision, Refused
from shared.runtime.signing import Keys, SignatureError, unseal

MAX_CHANNELS = 10
MIN_SECRET_BYTES = 16
SECRET_PREFIX = "whsec_"  # noqa: S105  # the prefix of Standard Webhooks, no secret

WAIT_FOR_SUBSCRIPTION = timedelta(seconds=10)
"""How long a command waits for a subscription that is not known yet: its own event may still be on its way."""


class Commands:
    """The handlers, with what they need: the keys that open sealed secrets, and whether private addresses may be."""

    def __init__(self, keys: Keys, *, allow_private: bool) -> None:
        self._keys = keys
        self._allow_private = allow_private

    async def acknowledge_alert(self, tx: Transaction, command: Event[AcknowledgeAlert]) -> Decision:
        """Note who took care of an alert. The first one counts; for an alert that is over nothing changes."""
        data = command.data
        subscription = await _subscription(tx, command, data.subscription)
        alert = await find_alert(tx.connection, data.subscription, data.alert)
        entry = _audit("acknowledge-alert", data.alert, data.subscription, subscription)
        refusal = _access(subscription, command, "acknowledge")
        if refusal is None and alert is None:
            refusal = not_found("alert")
        if refusal or alert is None:
            return Refused(refusal or not_found("alert"), entry)
        acknowledged = acknowledge(alert, str(command.actor), tx.now)
        if acknowledged is not None:
            await upsert_alerts(tx.connection, [acknowledged])
            payload = AlertAcknowledged(alert=acknowledged)
            await tx.emit(ALERTS_EVENTS_TOPIC, alert.subscription, payload, subject=alert.id)
        current = acknowledged or alert
        changed = {"before": {"state": alert.state}, "after": {"state": current.state}}
        entry = _audit("acknowledge-alert", data.alert, data.subscription, subscription, **changed)
        return Accepted(resource=alert.id, version=current.version, audit=entry)

    async def add_channel(self, tx: Transaction, command: Event[AddChannel]) -> Decision:
        """Send a subscription's alerts to a webhook too, from the next alert on."""
        data = command.data
        subscription = await _subscription(tx, command, data.subscription)
        shown = {"kind": data.kind, "url": data.url}
        entry = _audit("add-channel", data.channel, data.subscription, subscription, after=shown)
        refusal = _access(subscription, command, "channels") or self._fault(data)
        if refusal is None and await count_channels(tx.connection, data.subscription) >= MAX_CHANNELS:
            refusal = _invalid("channel", f"A subscription can have {MAX_CHANNELS} channels; remove one first.")
        if refusal:
            return Refused(refusal, entry)
        channel = ChannelState(
            id=data.channel,
            subscription=data.subscription,
            kind=data.kind,
            url=data.url,
            created_by=str(command.actor),
            created_at=tx.now,
            version=1,
        )
        if not await insert_channel(tx.connection, channel, data.sealed_secret):
            return Refused(Refusal(code="already_exists", message="There is a channel of this id already."), entry)
        await tx.emit(ALERTS_EVENTS_TOPIC, data.subscription, ChannelChanged(channel=channel), subject=channel.id)
        return Accepted(resource=channel.id, version=channel.version, audit=entry)

    async def remove_channel(self, tx: Transaction, command: Event[RemoveChannel]) -> Decision:
        """Send no more alerts there; what is still to be delivered is given up."""
        data = command.data
        subscription = await _subscription(tx, command, data.subscription)
        entry = _audit("remove-channel", data.channel, data.subscription, subscription)
        if refusal := _access(subscription, command, "channels"):
            return Refused(refusal, entry)
        channel = await remove_channel(tx.connection, data.subscription, data.channel, tx.now)
        if channel is None:
            return Refused(not_found("channel"), entry)
        await tx.emit(ALERTS_EVENTS_TOPIC, data.subscription, ChannelChanged(channel=channel), subject=channel.id)
        return Accepted(resource=channel.id, version=channel.version, audit=entry)

    def _fault(self, data: AddChannel) -> Refusal | None:
        if fault := fault_of_url(data.url, allow_private=self._allow_private):
            return _invalid("url", fault)
        try:
            secret = unseal(data.sealed_secret, self._keys)
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX) + "==")
        except (SignatureError, UnicodeDecodeError, binascii.Error):
            return _invalid("secret", "The signing secret cannot be read: it must be base64, as whsec_...")
        if len(key) < MIN_SECRET_BYTES:
            return _invalid("secret", f"The signing secret must have at least {MIN_SECRET_BYTES} bytes.")
        return None


async def _subscription(tx: Transaction, command: Event[Any], id: SubscriptionId) -> SubscriptionState | None:
    """The subscription, locked.

    Raises:
        TransientError: it is not known, and the command is so young that it may become so.
    """
    subscription = (await lock_watches(tx.connection, [id]))[id].subscription
    if subscription is None and tx.now - command.time < WAIT_FOR_SUBSCRIPTION:
        raise TransientError(f"subscription {id} is not known yet", delay_seconds=0.2)
    return subscription


def _access(subscription: SubscriptionState | None, command: Event[Any], deed: Deed) -> Refusal | None:
    if subscription is None:
        return not_found("subscription")
    return refusal_for(subscription, str(command.actor), bool(command.actorvendor), deed)


def _audit(
    action: str, object: str, id: SubscriptionId, subscription: SubscriptionState | None, **changed: Any
) -> AuditEntry:
    account = subscription.account if subscription else "vendor"
    return AuditEntry(action=action, object=object, account=account, subscription=id, **changed)


def _invalid(field: str, message: str) -> Refusal:
    errors = [{"field": field, "message": message}]
    return Refusal(code="invalid_request", message=message, details={"errors": errors})
