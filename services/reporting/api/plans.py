"""Allocations: plans with one or more changes, previews, policies, and the history."""

from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import plans as answers
from services.reporting.api.answers.overview import Overview
from services.reporting.api.edge import (
    Asking,
    CommandId,
    Doors,
    ExpectedVersions,
    answer_write,
    expected,
    new_router,
    write_answers,
)
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.names import InSubscription, OfProduct, ProductWanted
from services.reporting.api.overview import read_overview
from services.reporting.api.requests.plans import NewAllocation, NewRebalance, PolicySetting
from shared.events.commands.subscriptions import SetPolicy


def plans_router(doors: Doors) -> APIRouter:
    """``/v1/subscriptions/{id}/allocations``, ``/rebalances``, ``/products/{product}/policy``."""
    router = new_router("allocations", "/subscriptions/{subscription}")
    _add_plans(router, doors)
    _add_policy_and_history(router, doors)
    return router


def _add_plans(router: APIRouter, doors: Doors) -> None:
    queries, commands = doors.application.queries, doors.application.commands

    @router.post("/allocations", **write_answers(Overview))
    async def allocate(
        caller: Asking,
        subscription: InSubscription,
        asked: NewAllocation,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Set one product's allocation. By the primary contact and allocators."""

        async def overview() -> Overview:
            return await read_overview(queries, caller, subscription)

        answer = await commands.plan(
            caller,
            subscription,
            {asked.product: asked.units},
            command_id=command,
            accept_overage=asked.accept_overage,
            expected_version=await expected(versions, overview),
        )
        return await answer_write(answer, overview)

    @router.post("/rebalances", **write_answers(Overview, answers.Preview))
    async def rebalance(
        caller: Asking,
        subscription: InSubscription,
        asked: NewRebalance,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Change several allocations in one step, or preview the result."""

        async def overview() -> Overview:
            return await read_overview(queries, caller, subscription)

        answer = await commands.plan(
            caller,
            subscription,
            {change.product: change.units for change in asked.changes},
            command_id=command,
            preview=asked.preview,
            accept_overage=asked.accept_overage,
            override_reason=asked.override_reason,
            expected_version=await expected(versions, overview),
        )

        async def previewed() -> answers.PreviewResult:
            return answers.PreviewResult.model_validate({"preview": True, "allowed": True, **(answer.result or {})})

        return await answer_write(answer, previewed if asked.preview else overview)


def _add_policy_and_history(router: APIRouter, doors: Doors) -> None:
    queries = doors.application.queries

    @router.put("/products/{product}/policy", **write_answers(Overview))
    async def set_policy(
        caller: Asking,
        subscription: InSubscription,
        *,
        product: OfProduct,
        asked: PolicySetting,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Set what happens when a product consumes more than its allocation."""
        payload = SetPolicy(subscription=subscription, product=product, overage=asked.overage)
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.get("/allocations", response_model=answers.AllocationChanges)
    async def history(
        caller: Asking,
        subscription: InSubscription,
        product: ProductWanted,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Any:
        """List changes of allocations with actor, time and reason, newest first."""
        return await queries.allocations(caller, subscription, limit, cursor, product)
