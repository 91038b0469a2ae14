"""Changes of a subscription by the vendor after the sale."""

from fastapi import APIRouter, Response

from services.reporting.api.answers.overview import Overview
from services.reporting.api.identifiers import ProductInPath, SubscriptionInPath, path_id
from services.reporting.api.overview import read_overview
from services.reporting.api.requests.subscriptions import (
    Cancellation,
    Conversion,
    RateLockSetting,
    Renewal,
    Voiding,
)
from services.reporting.api.routing import (
    ApiContext,
    CommandId,
    CurrentCaller,
    ExpectedVersions,
    derive_id,
    new_router,
    write_answers,
)
from shared.events.commands.subscriptions import (
    CancelSubscription,
    ConvertSubscription,
    LockRates,
    RenewSubscription,
    UnsubscribeProduct,
    VoidLot,
)


def contracts_router(context: ApiContext) -> APIRouter:
    """Routes of a subscription's contract.

    They are ``/v1/subscriptions/{id}/cancel``, ``/renew``, ``/convert``, ``/rate-lock`` and so on.
    """
    router = new_router("subscriptions", "/subscriptions/{subscription}")
    _add_terms(router, context)
    _add_reversals(router, context)
    return router


def _add_terms(router: APIRouter, context: ApiContext) -> None:
    queries = context.application.queries

    @router.post("/cancel", **write_answers(Overview))
    async def cancel(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        body: Cancellation,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """End the subscription now, permanently; its history stays readable. Vendor only."""
        payload = CancelSubscription(subscription=subscription, reason=body.reason)
        return await context.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.post("/renew", **write_answers(Overview))
    async def renew(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        body: Renewal,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Add a term after the last one; allocations are carried over. Vendor only.

        It begins where the last term ended, even if that is in the past.
        """
        lot = derive_id(caller, command) if body.units is not None else None
        payload = RenewSubscription(subscription=subscription, lot=lot, **body.model_dump())
        return await context.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.post("/convert", **write_answers(Overview))
    async def convert(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        body: Conversion,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Convert per-product licensing to flexible units. Vendor only."""
        payload = ConvertSubscription(subscription=subscription, model=body.model)
        return await context.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.put("/rate-lock", **write_answers(Overview))
    async def lock_rates(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        body: RateLockSetting,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Lock the rates in force now until the term's end. Vendor only."""
        payload = LockRates(subscription=subscription, locked=body.locked)
        return await context.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )


def _add_reversals(router: APIRouter, context: ApiContext) -> None:
    queries = context.application.queries

    @router.post("/purchases/{lot}/void", **write_answers(Overview))
    async def void(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        *,
        lot: str,
        body: Voiding,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Void a purchase that was wrong. Vendor only.

        Its units no longer count; it stays in the list of purchases, with the reason.
        """
        payload = VoidLot(subscription=subscription, lot=path_id(lot, "purchase"), reason=body.reason)
        return await context.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.delete("/products/{product}", **write_answers(Overview))
    async def unsubscribe(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        product: ProductInPath,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Unsubscribe a product. Vendor only.

        Its units return to the pool; its history and roles stay readable.
        """
        payload = UnsubscribeProduct(subscription=subscription, product=product)
        return await context.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )
