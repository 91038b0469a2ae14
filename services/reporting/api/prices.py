"""Prices: the price list, and quotes before a purchase."""

from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import prices as answers
from services.reporting.api.requests.catalogue import NewQuote, PriceListSetting
from services.reporting.api.routing import ApiContext, CommandId, CurrentCaller, new_router, write_answers
from shared.events.commands.catalogue import SetPriceList
from shared.events.state import Tier

KEY = "price-list"
"""The Kafka key of all commands about prices, so that they are decided in order."""


def prices_router(context: ApiContext) -> APIRouter:
    """``/v1/price-list``, ``/v1/quotes``."""
    router = new_router("prices")
    catalogue = context.application.catalogue

    @router.get("/price-list", response_model=answers.PriceList)
    async def price_list(caller: CurrentCaller) -> Any:  # noqa: ARG001
        """Return the price list: all-units tiers, money in integer minor units."""
        return await catalogue.price_list()

    @router.put("/price-list", **write_answers(answers.PriceList))
    async def set_price_list(caller: CurrentCaller, body: PriceListSetting, command: CommandId) -> Response:
        """Set the price list from now on.

        Lots already bought keep their price. Vendor only.
        """
        payload = SetPriceList(
            currency=body.currency,
            list_price_minor=body.list_price_minor,
            tiers=tuple(Tier(**one.model_dump()) for one in body.tiers),
        )
        return await context.write(
            payload, caller, command, lambda: answers.PriceList.of(catalogue.price_list()), key=KEY
        )

    @router.post("/quotes", response_model=answers.Quote)
    async def quote(caller: CurrentCaller, body: NewQuote) -> Any:
        """Quote units at the price of now, with the arithmetic; nothing is bought."""
        return await catalogue.quote(caller, body.units, body.subscription)

    return router
