"""What the vendor changes about a subscription once it is sold."""

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
    """What the vendor changes about a subscription: ``/v1/subscriptions/{id}/cancel``, ``/renew`` and so on."""
    router = new_router("subscriptions", "/subscriptions/{subscription}")
    _add_terms(router, doors)
    _add_takings_back(router, doors)
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
        """It ends now, for good; its history stays readable. The vendor's."""
        payload = CancelSubscription(subscription=subscription, reason=asked.reason)
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.post("/renew", **write_answers(Overview))
    async def renew(
        caller: Asking, subscription: InSubscription, asked: Renewal, command: CommandId, versions: ExpectedVersions
    ) -> Response:
        """A further term. It begins where the last one ended, also when that is past; allocations are carried over.

        The vendor's.
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
        """From per-product licensing to flexible units. The vendor's."""
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
        """Hold the rates in force now until the term's end. The vendor's."""
        payload = LockRates(subscription=subscription, locked=asked.locked)
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )


def _add_takings_back(router: APIRouter, doors: Doors) -> None:
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
        """A purchase was wrong: its units no longer count; it stays in the list with the reason. The vendor's."""
        payload = VoidLot(subscription=subscription, lot=existing(lot, "purchase"), reason=asked.reason)
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.delete("/products/{product}", **write_answers(Overview))
    async def unsubscribe(
        caller: Asking, subscription: InSubscription, product: OfProduct, command: CommandId, versions: ExpectedVersions
    ) -> Response:
        """Its units return to the pool; its history and roles stay readable. The vendor's."""
        payload = UnsubscribeProduct(subscription=subscription, product=product)
        return await doors.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )
