"""Alerts with the current value of the share that they watch, and alert channels."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.reporting.domain.overview import Overview
from shared.events.alerts import AlertLifecycle, AlertScope, AlertState, ChannelState, Severity, shown_address
from shared.units import percent_tenths


@dataclass(frozen=True, slots=True)
class CurrentAlert:
    """An alert with the percentage that raised it, and the same percentage now."""

    id: str
    rule: str
    scope: AlertScope
    product: str | None
    severity: Severity
    threshold: int
    value_at: float
    value_now: float | None
    raised_at: datetime
    state: AlertLifecycle
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    message: str
    actions: tuple[str, ...]


def current_alert(state: AlertState, overview: Overview) -> CurrentAlert:
    """Combine an alert with its subscription's current figures."""
    return CurrentAlert(
        id=state.id,
        rule=state.rule,
        scope=state.scope,
        product=state.product,
        severity=state.severity,
        threshold=state.threshold,
        value_at=float(state.value_at),
        value_now=value_now(state, overview),
        raised_at=state.raised_at,
        state=state.state,
        acknowledged_by=state.acknowledged_by,
        acknowledged_at=state.acknowledged_at,
        message=state.message,
        actions=state.actions,
    )


def value_now(state: AlertState, overview: Overview) -> float | None:
    """Return the current value of the share that the alert's rule watches, in percent."""
    if state.rule in {"pool_allocation", "pool_over_allocated"}:
        tenths = percent_tenths(overview.allocated, overview.purchased)
    elif state.scope == "pool":
        tenths = percent_tenths(overview.consumed, overview.purchased)
    else:
        product = overview.product(state.product)
        tenths = percent_tenths(product.consumed, product.allocated) if product else None
    return None if tenths is None else tenths / 10


@dataclass(frozen=True, slots=True)
class MaskedChannel:
    """A channel as people see it.

    The address is a secret: only its host and last characters are shown.
    """

    id: str
    kind: Literal["webhook"]
    url: str
    created_by: str
    created_at: datetime


def mask_channel(state: ChannelState) -> MaskedChannel:
    """Remove the secrets from a channel's state; old states contain the whole address."""
    return MaskedChannel(state.id, state.kind, shown_address(state.url), state.created_by, state.created_at)
