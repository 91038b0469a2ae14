"""Allocations: plans of one or more changes, previews, policies, and their history."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from services.reporting.api.answers import plans as answers
from services.reporting.api.answers.subscriptions import Overview
from services.reporting.api.edge import (
    PENDING,
    Asking,
    CommandId,
    Doors,
    ExpectedVersion,
    answer_write,
    existing,
    invalid,
    listed,
    new_router,
)
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.requests import NewAllocation, NewRebalance, PolicySetting
from services.reporting.queries import is_id
from shared.events.commands import SetPolicy
from shared.events.ids import ProductId, SubscriptionId


def plans_router(doors: Doors) -> APIRouter:
    """``/v1/subscriptions/{id}/allocations``, ``/rebalances``, ``/products/{product}/policy``."""
    router = new_router("allocations", "/subscriptions/{subscription}")
    _add_plans(router, doors)
    _add_policy_and_history(router, doors)
    return router


def _add_plans(router: APIRouter, doors: Doors) -> None:
    queries, commands = doors.application.queries, doors.application.commands

    @router.post("/allocations", response_model=Overview, responses=PENDING)
    async def allocate(
        caller: Asking, subscription: str, asked: NewAllocation, command: CommandId, version: ExpectedVersion
    ) -> Response:
        """Set one product's allocation. The primary contact's and the allocators'."""
        answer = await commands.plan(
            caller,
            existing(subscription, "subscription"),
            {asked.product: asked.units},
            command_id=command,
            accept_overage=asked.accept_overage,
            expected_version=version,
        )
        return await answer_write(answer, lambda: queries.overview(caller, subscription))

    @router.post("/rebalances", response_model=Overview | answers.Preview, responses=PENDING)
    async def rebalance(
        caller: Asking, subscription: str, asked: NewRebalance, command: CommandId, version: ExpectedVersion
    ) -> Response:
        """Change several allocations in one step, or see what that would do."""
        answer = await commands.plan(
            caller,
            existing(subscription, "subscription"),
            {change.product: change.units for change in asked.changes},
            command_id=command,
            preview=asked.preview,
            accept_overage=asked.accept_overage,
            override_reason=asked.override_reason,
            expected_version=version,
        )

        async def previewed() -> dict[str, Any]:
            return {"preview": True, "allowed": True, **(answer.result or {})}

        async def applied() -> dict[str, Any]:
            return await queries.overview(caller, subscription)

        return await answer_write(answer, previewed if asked.preview else applied)


def _add_policy_and_history(router: APIRouter, doors: Doors) -> None:
    queries, commands = doors.application.queries, doors.application.commands

    @router.put("/products/{product}/policy", response_model=Overview, responses=PENDING)
    async def set_policy(
        caller: Asking, subscription: str, product: str, asked: PolicySetting, command: CommandId
    ) -> Response:
        """What happens when a product uses more than it was given."""
        payload = SetPolicy(
            subscription=SubscriptionId(existing(subscription, "subscription")),
            product=ProductId(existing(product, "product")),
            overage=asked.overage,
        )
        answer = await commands.submit(payload, caller, command)
        return await answer_write(answer, lambda: queries.overview(caller, subscription))

    @router.get("/allocations", response_model=answers.AllocationChanges)
    async def history(
        caller: Asking,
        subscription: str,
        limit: Limit = 50,
        cursor: Cursor = None,
        product: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Any:
        """Before, after, who, when, why; newest first."""
        if product is not None and not is_id(product):
            raise invalid("product", "is not the id of a product")
        return listed(await queries.allocations(caller, subscription, limit, cursor, product))
