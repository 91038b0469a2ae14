"""Allocations: plans, previews, policies, and the history.

A plan has one or more changes.
"""

from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import plans as answers
from services.reporting.api.answers.overview import Overview
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.identifiers import ProductInPath, ProductInQuery, SubscriptionInPath
from services.reporting.api.overview import read_overview
from services.reporting.api.requests.plans import NewAllocation, NewRebalance, PolicySetting
from services.reporting.api.routing import (
    ApiContext,
    CommandId,
    CurrentCaller,
    ExpectedVersions,
    answer_write,
    expected,
    new_router,
    write_answers,
)
from shared.events.commands.subscriptions import SetPolicy


def plans_router(context: ApiContext) -> APIRouter:
    """Routes of a subscription's allocations.

    They are ``/v1/subscriptions/{id}/allocations``, ``/rebalances`` and ``/products/{product}/policy``.
    """
    router = new_router("allocations", "/subscriptions/{subscription}")
    _add_plans(router, context)
    _add_policy_and_history(router, context)
    return router


def _add_plans(router: APIRouter, context: ApiContext) -> None:
    queries, commands = context.application.queries, context.application.commands

    @router.post("/allocations", **write_answers(Overview))
    async def allocate(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        body: NewAllocation,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Set one product's allocation. By the primary contact and allocators."""

        async def overview() -> Overview:
            return await read_overview(queries, caller, subscription)

        answer = await commands.plan(
            caller,
            subscription,
            {body.product: body.units},
            command_id=command,
            accept_overage=body.accept_overage,
            expected_version=await expected(versions, overview),
        )
        return await answer_write(answer, overview)

    @router.post("/rebalances", **write_answers(Overview, answers.Preview))
    async def rebalance(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        body: NewRebalance,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Change several allocations in one step, or preview the result."""

        async def overview() -> Overview:
            return await read_overview(queries, caller, subscription)

        answer = await commands.plan(
            caller,
            subscription,
            {change.product: change.units for change in body.changes},
            command_id=command,
            preview=body.preview,
            accept_overage=body.accept_overage,
            override_reason=body.override_reason,
            expected_version=await expected(versions, overview),
        )

        async def previewed() -> answers.PreviewResult:
            return answers.PreviewResult.model_validate({"preview": True, "allowed": True, **(answer.result or {})})

        return await answer_write(answer, previewed if body.preview else overview)


def _add_policy_and_history(router: APIRouter, context: ApiContext) -> None:
    queries = context.application.queries

    @router.put("/products/{product}/policy", **write_answers(Overview))
    async def set_policy(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        *,
        product: ProductInPath,
        body: PolicySetting,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Set what happens when a product consumes more than its allocation."""
        payload = SetPolicy(subscription=subscription, product=product, overage=body.overage)
        return await context.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.get("/allocations", response_model=answers.AllocationChanges)
    async def history(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        product: ProductInQuery,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Any:
        """List changes of allocations with actor, time and reason, newest first."""
        return await queries.allocations(caller, subscription, limit, cursor, product)
