"""The history of plans."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.allocation.domain.subscriptions import Subscription
from services.allocation.store.subscriptions import SAVED, saved_columns
from shared.events.allocation import PlanApplied
from shared.runtime.postgres import Connection

_SAVE = f"""
WITH {SAVED}, plan AS (
    INSERT INTO plans (
        subscription, version, applied_at, actor, command_id, kind, starts_clock, accept_overage, override_reason
    )
    SELECT $1, $16, $17, $18, $19, $20, $21, $22, $23
    RETURNING subscription, version
)
INSERT INTO plan_changes (subscription, version, product, units_before, units_after)
SELECT plan.subscription, plan.version, new.product, new.units_before, new.units_after
FROM plan
CROSS JOIN unnest($24::text[], $25::bigint[], $26::bigint[]) AS new (product, units_before, units_after)
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Origin:
    """Who applied a plan, when, by which command."""

    actor: str
    command_id: UUID
    at: datetime


async def save_plan(
    connection: Connection, before: Subscription, after: Subscription, plan: PlanApplied, origin: Origin
) -> None:
    """Write what an applied plan has changed, and keep it with its changes."""
    await connection.execute(
        _SAVE,
        *saved_columns(before, after),
        origin.at,
        origin.actor,
        origin.command_id,
        plan.kind,
        plan.starts_clock,
        plan.accept_overage,
        plan.override_reason,
        [change.product for change in plan.changes],
        [change.before for change in plan.changes],
        [change.after for change in plan.changes],
    )
