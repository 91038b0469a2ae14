"""The catalogue: products, their meters, and the meters' rates. The vendor writes, all read."""

from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import catalogue as answers
from services.reporting.api.edge import PENDING, Asking, CommandId, Doors, answer_write, existing, listed, new_router
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.requests import NewMeter, NewProduct, NewRate
from shared.events.commands import CreateMeter, CreateProduct, SetRate
from shared.events.ids import ProductId


def catalogue_router(doors: Doors) -> APIRouter:
    """``/v1/catalogue/products``."""
    router = new_router("catalogue", "/catalogue/products")
    _add_reads(router, doors)
    _add_writes(router, doors)
    return router


def _add_reads(router: APIRouter, doors: Doors) -> None:
    queries = doors.application.queries

    @router.get("", response_model=answers.Products)
    async def several(caller: Asking, limit: Limit = 50, cursor: Cursor = None) -> Any:  # noqa: ARG001
        """The catalogue."""
        return listed(await queries.products(limit, cursor))

    @router.get("/{product}", response_model=answers.Product)
    async def one(caller: Asking, product: str) -> Any:  # noqa: ARG001
        """One product."""
        return await queries.product(product)

    @router.get("/{product}/meters", response_model=answers.Meters)
    async def meters(caller: Asking, product: str) -> Any:  # noqa: ARG001
        """What a product measures."""
        return {"items": (await queries.product(product))["meters"]}

    @router.get("/{product}/rates", response_model=answers.Rates)
    async def rates(caller: Asking, product: str) -> Any:  # noqa: ARG001
        """The rates of its meters, by meter and in order of time."""
        found = (await queries.product(product))["meters"]
        return {"items": [{"meter": meter["meter"], **rate} for meter in found for rate in meter["rates"]]}


def _add_writes(router: APIRouter, doors: Doors) -> None:
    queries, commands = doors.application.queries, doors.application.commands

    @router.post("", response_model=answers.Product, responses=PENDING)
    async def create(caller: Asking, asked: NewProduct, command: CommandId) -> Response:
        """A new product."""
        payload = CreateProduct(product=asked.id, name=asked.name, sources=tuple(asked.sources))
        answer = await commands.submit(payload, caller, command)
        return await answer_write(answer, lambda: queries.product(asked.id))

    @router.post("/{product}/meters", response_model=answers.Product, responses=PENDING)
    async def add_meter(caller: Asking, product: str, asked: NewMeter, command: CommandId) -> Response:
        """A new meter with its first rate."""
        named = ProductId(existing(product, "product"))
        payload = CreateMeter(product=named, meter=asked.id, **asked.model_dump(exclude={"id"}))
        answer = await commands.submit(payload, caller, command)
        return await answer_write(answer, lambda: queries.product(product))

    @router.post("/{product}/rates", response_model=answers.Product, responses=PENDING)
    async def add_rate(caller: Asking, product: str, asked: NewRate, command: CommandId) -> Response:
        """A new rate of a meter, from a date on."""
        named = ProductId(existing(product, "product"))
        payload = SetRate(product=named, **asked.model_dump())
        answer = await commands.submit(payload, caller, command)
        return await answer_write(answer, lambda: queries.product(product))
