"""The reports on alerts and on their deliveries."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from services.reporting.domain.reports.columns import Column, Row
from services.reporting.domain.reports.definitions import Report, ReportId
from services.reporting.domain.reports.parameters import FLAVOUR, FROM, OF_SUBSCRIPTIONS, PRODUCT, TO
from shared.events.alerts import shown_address

ALERTS: Final = Report(
    id=ReportId("alerts"),
    title="Alerts",
    description="One row per alert that was raised, with the value that raised it.",
    columns=(
        Column("alert", "text", "Id of the alert."),
        Column("subscription", "text", "Id of the subscription."),
        Column("account", "text", "Id of the account that the subscription belongs to."),
        Column("raised_at", "timestamp", "When the alert was raised."),
        Column("rule", "text", "Rule that raised it, such as `product_consumption`."),
        Column("scope", "text", "What it is about: `pool` or `product`."),
        Column("product", "text", "Id of the product; empty: the pool.", nullable=True),
        Column("severity", "text", "`info`, `warning`, `high`, `critical` or `breach`."),
        Column("threshold", "integer", "Percent that was crossed."),
        Column("value_at", "decimal", "Percent that raised the alert.", scale=1),
        Column("part", "integer", "Units that are compared, such as those that are consumed."),
        Column("limit", "integer", "Units with which they are compared, such as those that are allocated."),
        Column("window_start", "timestamp", "Start of the measurement window in which it was raised."),
        Column("window_end", "timestamp", "End of this window, exclusive."),
        Column("state", "text", "Newest known state: `active`, `acknowledged` or `resolved`."),
        Column("acknowledged_by", "text", "E-mail address of the person who acknowledged it.", nullable=True),
        Column("acknowledged_at", "timestamp", "When it was acknowledged.", nullable=True),
        Column("message", "text", "What the alert says."),
    ),
    parameters=(*OF_SUBSCRIPTIONS, PRODUCT, FROM, TO, FLAVOUR),
    audience="view",
    has_history=True,
    names_people=True,
)

DELIVERIES: Final = Report(
    id=ReportId("deliveries"),
    title="Deliveries of alerts",
    description="One row per delivery of an alert to a channel that has ended.",
    columns=(
        Column("delivery", "text", "Id of the delivery."),
        Column("alert", "text", "Id of the alert."),
        Column("subscription", "text", "Id of the subscription."),
        Column("channel", "text", "Id of the channel."),
        Column("kind", "text", "Kind of the channel, such as `webhook`; empty: it is unknown.", nullable=True),
        Column("address", "text", "The channel's host and last four characters; empty: unknown.", nullable=True),
        Column("outcome", "text", "`delivered`, or `dead`: it was given up."),
        Column("attempts", "integer", "Number of attempts."),
        Column("settled_at", "timestamp", "When it was delivered or given up."),
        Column("last_error", "text", "What the last failed attempt was answered.", nullable=True),
    ),
    parameters=(*OF_SUBSCRIPTIONS, FROM, TO, FLAVOUR),
    audience="view",
)


class RaisedAlert(msgspec.Struct, frozen=True):
    """The state of an alert, as far as rows show it.

    ``acknowledged_by``: a person's id.
    """

    id: str
    subscription: str
    account: str
    raised_at: datetime
    rule: str
    scope: str
    severity: str
    threshold: int
    value_at: Decimal
    part: int
    limit: int
    window_start: datetime
    window_end: datetime
    state: str
    message: str
    product: str | None = None
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None


_DECODER: Final = msgspec.json.Decoder(RaisedAlert)


def read_alert(state: str) -> RaisedAlert:
    """Decode the state of an alert.

    Raises:
        ValueError: it is not one.
    """
    return _DECODER.decode(state)


class SettledDelivery(NamedTuple):
    """A stored delivery; ``address`` may be the channel's whole address."""

    delivery: str
    alert: str
    subscription: str
    channel: str
    kind: str | None
    address: str | None
    outcome: str
    attempts: int
    settled_at: datetime
    last_error: str | None


def alert_row(alert: RaisedAlert, as_of: datetime, show: Callable[[str], str]) -> Row:
    """Return the row of an alert as of an instant.

    Of what happened to it later, an acknowledgement is left out. ``show`` returns what to show of a person's id.
    """
    by, at, state = alert.acknowledged_by, alert.acknowledged_at, alert.state
    if at is not None and at > as_of:
        by, at, state = None, None, "active"
    return (
        alert.id,
        alert.subscription,
        alert.account,
        alert.raised_at,
        alert.rule,
        alert.scope,
        alert.product,
        alert.severity,
        alert.threshold,
        alert.value_at,
        alert.part,
        alert.limit,
        alert.window_start,
        alert.window_end,
        state,
        show(by) if by else None,
        at,
        alert.message,
    )


def delivery_row(delivery: SettledDelivery) -> Row:
    """Return the row of a delivery; the channel's address is shortened."""
    address = delivery.address
    return (*delivery[:5], shown_address(address) if address else None, *delivery[6:])
