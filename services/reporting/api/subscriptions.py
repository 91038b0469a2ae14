"""Subscriptions and their purchases."""

from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import subscriptions as answers
from services.reporting.api.answers.overview import Overview
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.identifiers import AccountInQuery, SubscriptionInPath
from services.reporting.api.overview import read_overview
from services.reporting.api.requests.subscriptions import NewPurchase, NewSubscribedProduct, NewSubscription
from services.reporting.api.routing import (
    ApiContext,
    CommandId,
    CurrentCaller,
    ExpectedVersions,
    derive_id,
    etag,
    new_router,
    write_answers,
)
from shared.events.commands.subscriptions import CreateSubscription, PurchaseLot, SubscribeProduct
from shared.events.ids import SubscriptionId
from shared.events.state import Person


def subscriptions_router(context: ApiContext) -> APIRouter:
    """``/v1/subscriptions``."""
    router = new_router("subscriptions", "/subscriptions")
    _add_reads(router, context)
    _add_writes(router, context)
    return router


_VERSIONED = {"headers": {"ETag": {"description": "The version, for `If-Match`", "schema": {"type": "string"}}}}


def _add_reads(router: APIRouter, context: ApiContext) -> None:
    queries = context.application.queries

    @router.get("", response_model=answers.Subscriptions)
    async def several(caller: CurrentCaller, account: AccountInQuery, limit: Limit = 50, cursor: Cursor = None) -> Any:
        """List the subscriptions that the caller may see.

        A vendor operator sees all, and others those in which they have a role.
        """
        return await queries.subscriptions(caller, limit, cursor, account)

    @router.get("/{subscription}", response_model=Overview, responses={200: _VERSIONED})
    async def overview(caller: CurrentCaller, subscription: SubscriptionInPath, response: Response) -> Any:
        """Return a subscription with all figures; its ETag is for ``If-Match``."""
        shown = await read_overview(queries, caller, subscription)
        response.headers.update(etag(shown.version))
        return shown

    @router.get("/{subscription}/purchases", response_model=answers.Lots)
    async def purchases(caller: CurrentCaller, subscription: SubscriptionInPath) -> Any:
        """List the purchased lots, newest first."""
        return {"items": await queries.purchases(caller, subscription)}


def _add_writes(router: APIRouter, context: ApiContext) -> None:
    queries = context.application.queries

    @router.post("", **write_answers(Overview))
    async def create(caller: CurrentCaller, body: NewSubscription, command: CommandId) -> Response:
        """Create a subscription. Vendor only."""
        subscription = derive_id(caller, command)
        payload = CreateSubscription(
            subscription=SubscriptionId(subscription),
            primary_contact=Person(email=body.primary_contact.email, name=body.primary_contact.name),
            **body.model_dump(exclude={"primary_contact"}),
        )
        return await context.write(payload, caller, command, lambda: read_overview(queries, caller, subscription))

    @router.post("/{subscription}/purchases", **write_answers(Overview))
    async def purchase(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        body: NewPurchase,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Add units bought in one order. Vendor only."""
        payload = PurchaseLot(subscription=subscription, lot=derive_id(caller, command), **body.model_dump())
        return await context.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.post("/{subscription}/products", **write_answers(Overview))
    async def subscribe(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        body: NewSubscribedProduct,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Subscribe to a product, and create its default roles, once.

        By the primary contact and the vendor.
        """
        payload = SubscribeProduct(subscription=subscription, product=body.product)
        return await context.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )
