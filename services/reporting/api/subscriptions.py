"""Subscriptions, their purchases and their usage."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from services.reporting.api.answers import subscriptions as answers
from services.reporting.api.answers.overview import Overview
from services.reporting.api.edge import (
    Asking,
    CommandId,
    Doors,
    ExpectedVersions,
    chosen_id,
    etag,
    new_router,
    write_answers,
)
from services.reporting.api.fields import At, Cursor, Limit, check_order, invalid
from services.reporting.api.names import AccountWanted, InSubscription, ProductWanted
from services.reporting.api.overview import read_overview
from services.reporting.api.requests.subscriptions import NewPurchase, NewSubscribedProduct, NewSubscription
from shared.events.commands.subscriptions import CreateSubscription, PurchaseLot, SubscribeProduct
from shared.events.ids import SubscriptionId
from shared.events.state import Person

SHOWN_DAYS = 366


def subscriptions_router(doors: Doors) -> APIRouter:
    """``/v1/subscriptions``."""
    router = new_router("subscriptions", "/subscriptions")
    _add_reads(router, doors)
    _add_usage(router, doors)
    _add_writes(router, doors)
    return router


_VERSIONED = {"headers": {"ETag": {"description": "The version, for `If-Match`", "schema": {"type": "string"}}}}


def _add_reads(router: APIRouter, doors: Doors) -> None:
    queries = doors.application.queries

    @router.get("", response_model=answers.Subscriptions)
    async def several(caller: Asking, account: AccountWanted, limit: Limit = 50, cursor: Cursor = None) -> Any:
        """List subscriptions: all for the vendor, else those in which the caller has a role."""
        return await queries.subscriptions(caller, limit, cursor, account)

    @router.get("/{subscription}", response_model=Overview, responses={200: _VERSIONED})
    async def overview(caller: Asking, subscription: InSubscription, response: Response) -> Any:
        """Return a subscription with all figures; its ETag is for ``If-Match``."""
        shown = await read_overview(queries, caller, subscription)
        response.headers.update(etag(shown.version))
        return shown

    @router.get("/{subscription}/purchases", response_model=answers.Lots)
    async def purchases(caller: Asking, subscription: InSubscription) -> Any:
        """List the purchased lots, newest first."""
        return {"items": await queries.purchases(caller, subscription)}


def _add_usage(router: APIRouter, doors: Doors) -> None:
    queries, clock = doors.application.queries, doors.application.clock

    @router.get("/{subscription}/usage", response_model=answers.Usage)
    async def usage(
        caller: Asking,
        subscription: InSubscription,
        product: ProductWanted,
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


def _add_writes(router: APIRouter, doors: Doors) -> None:
    queries = doors.application.queries

    @router.post("", **write_answers(Overview))
    async def create(caller: Asking, asked: NewSubscription, command: CommandId) -> Response:
        """Create a subscription. Vendor only."""
        subscription = chosen_id(caller, command)
        payload = CreateSubscription(
            subscription=SubscriptionId(subscription),
            primary_contact=Person(email=asked.primary_contact.email, name=asked.primary_contact.name),
            **asked.model_dump(exclude={"primary_contact"}),
        )
        return await doors.write(payload, caller, command, lambda: read_overview(queries, caller, subscription))

    @router.post("/{subscription}/purchases", **write_answers(Overview))
    async def purchase(
        caller: Asking, subscription: InSubscription, asked: NewPurchase, command: CommandId, versions: ExpectedVersions
    ) -> Response:
        """Add units bought in one order. Vendor only."""
        payload = PurchaseLot(subscription=subscription, lot=chosen_id(caller, command), **asked.model_dump())
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.post("/{subscription}/products", **write_answers(Overview))
    async def subscribe(
        caller: Asking,
        subscription: InSubscription,
        asked: NewSubscribedProduct,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Subscribe to a product, and create its default roles, once.

        By the primary contact and the vendor.
        """
        payload = SubscribeProduct(subscription=subscription, product=asked.product)
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )
