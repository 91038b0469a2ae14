"""The history of plans."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.events.allocation import PlanApplied
from shared.runtime.postgres import Connection

_INSERT = """
WITH plan AS (
    INSERT INTO plans (
        subscription, version, applied_at, actor, command_id, kind, starts_clock, accept_overage, override_reason
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    RETURNING subscription, version
)
INSERT INTO plan_changes (subscription, version, product, units_before, units_after)
SELECT plan.subscription, plan.version, new.product, new.units_before, new.units_after
FROM plan
CROSS JOIN unnest($10::text[], $11::bigint[], $12::bigint[]) AS new (product, units_before, units_after)
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who applied a plan, when, by which command."""

    actor: str
    command_id: UUID
    at: datetime


async def insert_plan(connection: Connection, plan: PlanApplied, origin: Origin) -> None:
    """Keep an applied plan with its changes."""
    subscription, version = plan.subscription.id, plan.subscription.version
    await connection.execute(
        _INSERT,
        subscription,
        version,
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
