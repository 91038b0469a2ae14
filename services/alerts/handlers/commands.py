"""The commands: acknowledge an alert, add and remove a channel."""

import base64
import binascii
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from services.alerts.domain.access import Action, refusal_for
from services.alerts.domain.addresses import fault_of_url
from services.alerts.domain.watch import acknowledge
from services.alerts.store.alerts import find_alert, upsert_alerts
from services.alerts.store.channels import NewSecrets, count_channels, insert_channel, remove_channel
from services.alerts.store.watches import lock_watches
from shared.events.alerts import AlertAcknowledged, ChannelChanged, ChannelState, shown_address
from shared.events.commands.alerts import AcknowledgeAlert, AddChannel, RemoveChannel
from shared.events.envelope import Event
from shared.events.ids import SubscriptionId
from shared.events.refusals import Refusal
from shared.events.state import Lifecycle, SubscriptionState
from shared.events.topics import ALERTS_COMMANDS_TOPIC, ALERTS_EVENTS_TOPIC
from shared.runtime.commands.decisions import Accepted, AuditEntry, CommandHandler, Decision, Postponed, Refused
from shared.runtime.delivery.isolation import concerns_one
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.signing import Keys, SignatureError, seal, unseal

MAX_CHANNELS = 10
MIN_SECRET_BYTES = 16
SECRET_PREFIX = "whsec_"  # noqa: S105  # the prefix of Standard Webhooks, no secret

WAIT_SECONDS = 10
"""Longest time for which a command is postponed.

It is postponed until its sender's state arrives, or while handling fails.
"""
_OVER: frozenset[Lifecycle] = frozenset({"cancelled", "expired"})
"""Final states, in which no more alerts are raised."""


class Commands:
    """The command handlers.

    ``keys`` open sealed secrets; ``allow_private`` permits webhooks to private addresses.
    """

    def __init__(self, keys: Keys, *, allow_private: bool) -> None:
        self._keys = keys
        self._allow_private = allow_private

    async def acknowledge_alert(self, tx: Transaction, command: Event[AcknowledgeAlert]) -> Decision:
        """Acknowledge an alert.

        Repeats, and acknowledging a resolved alert, change nothing.
        """
        data = command.data
        subscription = await _subscription(tx, data.subscription)
        if postponed := _postponed(subscription, data.seen):
            return postponed
        alert = await find_alert(tx.connection, data.subscription, data.alert)
        entry = _audit("acknowledge-alert", data.alert, data.subscription, subscription)
        refusal = _access(subscription, command, "acknowledge")
        if refusal is None and alert is None:
            refusal = Refusal.not_found("alert")
        if refusal or alert is None:
            return Refused(refusal or Refusal.not_found("alert"), entry)
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
        """Add a webhook that receives the subscription's alerts from the next one on."""
        data = command.data
        subscription = await _subscription(tx, data.subscription)
        if postponed := _postponed(subscription, data.seen):
            return postponed
        entry = _audit("add-channel", data.channel, data.subscription, subscription)
        refusal = _access(subscription, command, "channels")
        if refusal or subscription is None:
            return Refused(refusal or Refusal.not_found("subscription"), entry)
        url = self._address(data)
        refusal = _fault_of_state(subscription) or self._fault(data, url)
        if refusal is None and await count_channels(tx.connection, data.subscription) >= MAX_CHANNELS:
            refusal = _invalid("url", f"A subscription can have {MAX_CHANNELS} channels; remove one first.")
        if refusal or url is None:
            return Refused(refusal or _unreadable("url"), entry)
        channel = ChannelState(
            id=data.channel,
            subscription=data.subscription,
            kind=data.kind,
            url=shown_address(url),
            created_by=str(command.actor),
            created_at=tx.now,
            version=1,
        )
        secrets = NewSecrets(signing=data.sealed_secret, url=seal(url, self._keys))
        if not await insert_channel(tx.connection, channel, secrets, subscription.account):
            return Refused(Refusal(code="already_exists", message="There is a channel of this id already."), entry)
        await tx.emit(ALERTS_EVENTS_TOPIC, data.subscription, ChannelChanged(channel=channel), subject=channel.id)
        # The audit log is permanent and read by auditors, so it gets only the host of the address.
        entry = replace(entry, after={"kind": data.kind, "host": urlsplit(url).hostname})
        return Accepted(resource=channel.id, version=channel.version, audit=entry)

    async def remove_channel(self, tx: Transaction, command: Event[RemoveChannel]) -> Decision:
        """Remove a channel; its pending deliveries are given up."""
        data = command.data
        subscription = await _subscription(tx, data.subscription)
        if postponed := _postponed(subscription, data.seen):
            return postponed
        entry = _audit("remove-channel", data.channel, data.subscription, subscription)
        if refusal := _access(subscription, command, "channels"):
            return Refused(refusal, entry)
        channel = await remove_channel(tx.connection, data.subscription, data.channel, tx.now)
        if channel is None:
            return Refused(Refusal.not_found("channel"), entry)
        await tx.emit(ALERTS_EVENTS_TOPIC, data.subscription, ChannelChanged(channel=channel), subject=channel.id)
        return Accepted(resource=channel.id, version=channel.version, audit=entry)

    def _address(self, data: AddChannel) -> str | None:
        """Return the channel's address; ``None`` if it is sealed with an unknown key."""
        try:
            return data.url if data.sealed_url is None else unseal(data.sealed_url, self._keys)
        except (SignatureError, UnicodeDecodeError):
            return None

    def _fault(self, data: AddChannel, url: str | None) -> Refusal | None:
        if url is None:
            return _unreadable("url")
        if fault := fault_of_url(url, allow_private=self._allow_private):
            return _invalid("url", fault)
        try:
            secret = unseal(data.sealed_secret, self._keys)
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX) + "==")
        except (SignatureError, UnicodeDecodeError, binascii.Error):
            return _invalid("secret", "The signing secret cannot be read: it must be base64, as whsec_...")
        if len(key) < MIN_SECRET_BYTES:
            return _invalid("secret", f"The signing secret must have at least {MIN_SECRET_BYTES} bytes.")
        return None


def isolated(handler: CommandHandler) -> CommandHandler:
    """Wrap a handler so that its failures postpone the command.

    The command is retried until it is decided or refused.
    """
    work = ALERTS_COMMANDS_TOPIC.name
    failures = SetAside(work)

    async def handle(tx: Transaction, command: Event[Any]) -> Decision:
        try:
            return await handler(tx, command)
        except Exception as error:
            if not concerns_one(error):
                raise
            failures.count(command.data.subscription, error)
            return _later("The command cannot be decided at the moment. Try again in a minute.")

    return handle


async def _subscription(tx: Transaction, id: SubscriptionId) -> SubscriptionState | None:
    """Lock a subscription and load its state."""
    return (await lock_watches(tx.connection, [id]))[id].subscription


def _postponed(subscription: SubscriptionState | None, seen: int | None) -> Postponed | None:
    """Postpone a command if its sender has seen a newer version than is stored.

    ``seen`` is ``None`` if the sender sees no such subscription: then the command is decided at once.
    """
    if seen is None or (subscription is not None and subscription.version >= seen):
        return None
    return _later("The subscription has changed a moment ago. Try again in a minute.")


def _later(sentence: str) -> Postponed:
    return Postponed(Refused(Refusal(code="unavailable", message=sentence)), WAIT_SECONDS)


def _fault_of_state(subscription: SubscriptionState) -> Refusal | None:
    if subscription.state not in _OVER:
        return None
    return Refusal(
        code="subscription_not_active",
        message=f"The subscription is {subscription.state}: it raises no more alerts, so it takes no channels.",
        details={"state": subscription.state},
    )


def _access(subscription: SubscriptionState | None, command: Event[Any], action: Action) -> Refusal | None:
    if subscription is None:
        return Refusal.not_found("subscription")
    return refusal_for(subscription, command.actor, bool(command.actorvendor), action)


def _audit(
    action: str, object: str, id: SubscriptionId, subscription: SubscriptionState | None, **changed: Any
) -> AuditEntry:
    account = subscription.account if subscription else "vendor"
    return AuditEntry(action=action, object=object, account=account, subscription=id, **changed)


def _invalid(field: str, message: str) -> Refusal:
    return Refusal.invalid((field, message), message=message)


def _unreadable(field: str) -> Refusal:
    return _invalid(field, "The sealed value cannot be opened. Send the command again.")
