"""Changes of a subscription by the vendor after the sale."""

from fastapi import APIRouter, Response

from services.reporting.api.answers.overview import Overview
from services.reporting.api.edge import Asking, CommandId, Doors, ExpectedVersions, chosen_id, new_router, write_answers
from services.reporting.api.names import InSubscription, OfProduct, existing
from services.reporting.api.overview import read_overview
from services.reporting.api.requests.subscriptions import (
    Cancellation,
    Conversion,
    RateLockSetting,
    Renewal,
    Voiding,
)
from shared.events.commands.subscriptions import (
    CancelSubscription,
    ConvertSubscription,
    LockRates,
    RenewSubscription,
    UnsubscribeProduct,
    VoidLot,
)


def contracts_router(doors: Doors) -> APIRouter:
    """``/v1/subscriptions/{id}/cancel``, ``/renew``, ``/convert``, ``/rate-lock`` and so on."""
    router = new_router("subscriptions", "/subscriptions/{subscription}")
    _add_terms(router, doors)
    _add_reversals(router, doors)
    return router


def _add_terms(router: APIRouter, doors: Doors) -> None:
    queries = doors.application.queries

    @router.post("/cancel", **write_answers(Overview))
    async def cancel(
        caller: Asking,
        subscription: InSubscription,
        asked: Cancellation,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """End the subscription now, permanently; its history stays readable. Vendor only."""
        payload = CancelSubscription(subscription=subscription, reason=asked.reason)
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.post("/renew", **write_answers(Overview))
    async def renew(
        caller: Asking, subscription: InSubscription, asked: Renewal, command: CommandId, versions: ExpectedVersions
    ) -> Response:
        """Add a term after the last one; allocations are carried over. Vendor only.

        It begins where the last term ended, even if that is in the past.
        """
        lot = chosen_id(caller, command) if asked.units is not None else None
        payload = RenewSubscription(subscription=subscription, lot=lot, **asked.model_dump())
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.post("/convert", **write_answers(Overview))
    async def convert(
        caller: Asking, subscription: InSubscription, asked: Conversion, command: CommandId, versions: ExpectedVersions
    ) -> Response:
        """Convert per-product licensing to flexible units. Vendor only."""
        payload = ConvertSubscription(subscription=subscription, model=asked.model)
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.put("/rate-lock", **write_answers(Overview))
    async def lock_rates(
        caller: Asking,
        subscription: InSubscription,
        asked: RateLockSetting,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Lock the rates in force now until the term's end. Vendor only."""
        payload = LockRates(subscription=subscription, locked=asked.locked)
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )


def _add_reversals(router: APIRouter, doors: Doors) -> None:
    queries = doors.application.queries

    @router.post("/purchases/{lot}/void", **write_answers(Overview))
    async def void(
        caller: Asking,
        subscription: InSubscription,
        *,
        lot: str,
        asked: Voiding,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Void a purchase that was wrong. Vendor only.

        Its units no longer count; it stays in the list of purchases, with the reason.
        """
        payload = VoidLot(subscription=subscription, lot=existing(lot, "purchase"), reason=asked.reason)
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.delete("/products/{product}", **write_answers(Overview))
    async def unsubscribe(
        caller: Asking, subscription: InSubscription, product: OfProduct, command: CommandId, versions: ExpectedVersions
    ) -> Response:
        """Unsubscribe a product. Vendor only.

        Its units return to the pool; its history and roles stay readable.
        """
        payload = UnsubscribeProduct(subscription=subscription, product=product)
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )
