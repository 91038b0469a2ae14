"""The history of plans."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.allocation.domain.subscriptions import Subscription
from services.allocation.store.subscription_sql import SAVE_PLANS
from services.allocation.store.subscriptions import saved_columns
from shared.events.allocation import PlanApplied
from shared.runtime.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """An applied plan, with the subscription before and after.

    It also says who applied it, when, and by which command.
    """

    before: Subscription
    after: Subscription
    plan: PlanApplied
    actor: str
    command_id: UUID
    at: datetime


async def save_plans(connection: Connection, saved: Sequence[SavedPlan]) -> None:
    """Save applied plans with the rows that they change, in one statement.

    Each plan is of another subscription.
    """
    plans = [one.plan for one in saved]
    changes = [(one.after.state, change) for one in saved for change in one.plan.changes]
    await connection.execute(
        SAVE_PLANS,
        *saved_columns([(one.before, one.after) for one in saved]),
        [one.at for one in saved],
        [one.actor for one in saved],
        [one.command_id for one in saved],
        [plan.kind for plan in plans],
        [plan.starts_clock for plan in plans],
        [plan.accept_overage for plan in plans],
        [plan.override_reason for plan in plans],
        [state.id for state, _ in changes],
        [state.version for state, _ in changes],
        [change.product for _, change in changes],
        [change.before for _, change in changes],
        [change.after for _, change in changes],
    )
