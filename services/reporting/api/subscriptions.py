"""Subscriptions, their purchases and their usage."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from services.reporting.api.answers import subscriptions as answers
from services.reporting.api.answers.overview import Overview
from services.reporting.api.fields import At, Cursor, Limit, check_order, invalid
from services.reporting.api.identifiers import AccountInQuery, ProductInQuery, SubscriptionInPath
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

SHOWN_DAYS = 366


def subscriptions_router(context: ApiContext) -> APIRouter:
    """``/v1/subscriptions``."""
    router = new_router("subscriptions", "/subscriptions")
    _add_reads(router, context)
    _add_usage(router, context)
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


def _add_usage(router: APIRouter, context: ApiContext) -> None:
    queries, clock = context.application.queries, context.application.clock

    @router.get("/{subscription}/usage", response_model=answers.Usage)
    async def usage(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        product: ProductInQuery,
        *,
        start: Annotated[At | None, Query(alias="from")] = None,
        end: Annotated[At | None, Query(alias="to")] = None,
        interval: Literal["window", "day", "hour"] = "window",
    ) -> Any:
        """List what each window that overlaps ``from`` to ``to`` added; 0 without usage.

        Without ``from``, list the last 12 months, each product from its first measured window to its last.
        ``term_to_date`` has the running totals of a meter that burns down.
        """
        if interval != "window":
            raise invalid("interval", f"usage by {interval} is not stored; request interval=window")
        kept_from = clock() - timedelta(days=SHOWN_DAYS)
        for name, at in (("from", start), ("to", end)):
            if at is not None and at < kept_from:
                raise invalid(
                    name, f"is before {kept_from:%Y-%m-%dT%H:%M:%SZ}: usage is retained for {SHOWN_DAYS} days"
                )
        asked_from, end = start, end or clock()
        start = start or max(end - timedelta(days=SHOWN_DAYS), kept_from)
        check_order(start, end)
        shown = await queries.usage(caller, subscription, start, end, product, measured_only=asked_from is None)
        return answers.Usage(items=[answers.usage_item(one) for one in shown])


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
