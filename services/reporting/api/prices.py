"""Prices: the price list, and quotes before a purchase."""

from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import prices as answers
from services.reporting.api.edge import Asking, CommandId, Doors, new_router, write_answers
from services.reporting.api.requests.catalogue import NewQuote, PriceListSetting
from shared.events.commands.catalogue import SetPriceList
from shared.events.state import Tier

KEY = "price-list"
"""The Kafka key of all commands about prices, so that they are decided in order."""


def prices_router(doors: Doors) -> APIRouter:
    """``/v1/price-list``, ``/v1/quotes``."""
    router = new_router("prices")
    catalogue = doors.application.catalogue

    @router.get("/price-list", response_model=answers.PriceList)
    async def price_list(caller: Asking) -> Any:  # noqa: ARG001
        """Return the price list: all-units tiers, money in integer minor units."""
        return await catalogue.price_list()

    @router.put("/price-list", **write_answers(answers.PriceList))
    async def set_price_list(caller: Asking, asked: PriceListSetting, command: CommandId) -> Response:
        """Set the price list from now on. Lots already bought keep their price. Vendor only."""
        payload = SetPriceList(
            currency=asked.currency,
            list_price_minor=asked.list_price_minor,
            tiers=tuple(Tier(**one.model_dump()) for one in asked.tiers),
        )
        return await doors.write(
            payload, caller, command, lambda: answers.PriceList.of(catalogue.price_list()), key=KEY
        )

    @router.post("/quotes", response_model=answers.Quote)
    async def quote(caller: Asking, asked: NewQuote) -> Any:
        """Quote units at the price of now, with the arithmetic; nothing is bought."""
        return await catalogue.quote(caller, asked.units, asked.subscription)

    return router
