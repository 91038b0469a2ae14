"""Events of alerts: raised, acknowledged, delivered. Topic ``alerts.events``."""

import re
from decimal import Decimal
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from shared.events.envelope import Frozen, Instant, Payload
from shared.events.ids import AccountRef, ProductRef, SubscriptionRef
from shared.events.outcomes import AlertsCommandDecided
from shared.units import Units

Severity = Literal["info", "warning", "high", "critical", "breach"]
AlertScope = Literal["pool", "product"]
AlertLifecycle = Literal["active", "acknowledged", "resolved"]
Percent = Annotated[Decimal, Field(ge=0, decimal_places=1)]


class AlertState(Frozen):
    """One alert.

    ``part`` of ``limit`` units (consumed of allocated, say) is the share that triggered it, and ``value_at`` that share
    in percent. ``threshold``: the percentage that it crossed.
    """

    id: str
    subscription: SubscriptionRef
    account: AccountRef
    rule: str
    scope: AlertScope
    product: ProductRef | None = None
    severity: Severity
    threshold: int = Field(ge=0)
    value_at: Percent
    part: Units
    limit: Units
    window_start: Instant
    window_end: Instant
    raised_at: Instant
    state: AlertLifecycle
    acknowledged_by: str | None = None
    acknowledged_at: Instant | None = None
    message: str
    actions: tuple[str, ...] = ()
    version: int = Field(ge=1)


class AlertRaised(Payload):
    event_type = "unitpool.alerts.alert.raised.v1"
    alert: AlertState


class AlertAcknowledged(Payload):
    event_type = "unitpool.alerts.alert.acknowledged.v1"
    alert: AlertState


class AlertResolved(Payload):
    """The alert ended: the value fell far enough, or a new window began."""

    event_type = "unitpool.alerts.alert.resolved.v1"
    alert: AlertState


MASK = "****"
_HIDDEN = re.compile(rf"/{re.escape(MASK)}.{{0,4}}")
_SHOWN_FROM_LENGTH = 12
"""Shortest path with query, in characters, whose last four are shown.

Of a shorter one, four characters would be most of it.
"""


def shown_address(url: str) -> str:
    """Shorten a channel's address to host and last four characters.

    Path and query are a secret: with them anyone can write to the channel. A shortened address is returned unchanged.
    """
    parts = urlsplit(url)
    hidden = f"{parts.path}?{parts.query}" if parts.query else parts.path
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if hidden in {"", "/"} or _HIDDEN.fullmatch(hidden):
        return origin + hidden
    return f"{origin}/{MASK}{hidden[-4:] if len(hidden) >= _SHOWN_FROM_LENGTH else ''}"


class ChannelState(Frozen):
    """A channel to which a subscription's alerts are sent, without its secrets.

    ``url`` is its address as ``shown_address`` returns it. Events from before 2026-12 have the whole address, so a
    reader that shows it must apply ``shown_address``.
    """

    id: str
    subscription: SubscriptionRef
    kind: Literal["webhook"]
    url: str
    created_by: str
    created_at: Instant
    removed_at: Instant | None = None
    version: int = Field(ge=1)


class ChannelChanged(Payload):
    event_type = "unitpool.alerts.channel.changed.v1"
    channel: ChannelState


class DeliverySettled(Payload):
    """A delivery ended: it was delivered, or given up as a dead letter."""

    event_type = "unitpool.alerts.delivery.settled.v1"
    delivery: str
    alert: str
    subscription: SubscriptionRef
    channel: str
    outcome: Literal["delivered", "dead"]
    attempts: int = Field(ge=1)
    settled_at: Instant
    last_error: str | None = None


ALERTS_EVENTS: tuple[type[Payload], ...] = (
    AlertRaised,
    AlertAcknowledged,
    AlertResolved,
    ChannelChanged,
    DeliverySettled,
    AlertsCommandDecided,
)
