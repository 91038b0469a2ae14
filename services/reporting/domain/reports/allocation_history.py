"""The report on changes of allocations."""

from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from services.reporting.domain.reports.columns import Column, Row
from services.reporting.domain.reports.definitions import Report, ReportId
from services.reporting.domain.reports.parameters import FLAVOUR, FROM, OF_SUBSCRIPTIONS, PRODUCT, TO

ALLOCATION_HISTORY: Final = Report(
    id=ReportId("allocation-history"),
    title="History of allocations",
    description="One row per change of a product's allocation: before, after, who, when and why.",
    columns=(
        Column("subscription", "text", "Id of the subscription."),
        Column("product", "text", "Id of the product."),
        Column("at", "timestamp", "When the allocation changed."),
        Column("kind", "text", "What changed it, such as `allocation`, `rebalance` or `unsubscribed`."),
        Column("before", "integer", "Units that were allocated before."),
        Column("after", "integer", "Units that are allocated afterwards."),
        Column("difference", "integer", "Units after less units before."),
        Column("actor", "text", "E-mail address of the person who changed it; empty: no person did.", nullable=True),
        Column("reason", "text", "Reason that was given, of an override.", nullable=True),
        Column("starts_clock", "boolean", "Whether the change started the clock of rebalances."),
        Column("version", "integer", "Version of the subscription after the change."),
        Column("event", "text", "Id of the event; the changes of one plan share it."),
    ),
    parameters=(*OF_SUBSCRIPTIONS, PRODUCT, FROM, TO, FLAVOUR),
    audience="view",
    has_history=True,
    names_people=True,
)


class AllocationChange(NamedTuple):
    """A stored change.

    ``actor`` and ``reason`` are a person's id and a sealed text, or unknown.
    """

    subscription: str
    product: str
    at: datetime
    kind: str
    before: int
    after: int
    actor: str | None
    reason: str | None
    starts_clock: bool
    version: int
    event_id: str


def change_row(change: AllocationChange, show: Callable[[str], str]) -> Row:
    """Return the row of a change.

    ``show`` returns what to show of a person's id or a sealed text.
    """
    actor, reason = change.actor, change.reason
    return (
        change.subscription,
        change.product,
        change.at,
        change.kind,
        change.before,
        change.after,
        change.after - change.before,
        show(actor) if actor else None,
        show(reason) if reason else None,
        change.starts_clock,
        change.version,
        change.event_id,
    )
