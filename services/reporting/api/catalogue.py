"""The catalogue: products, their meters, and the meters' rates. The vendor writes, everyone reads."""

from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import catalogue as answers
from services.reporting.api.edge import Asking, CommandId, Doors, new_router, write_answers
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.names import OfProduct
from services.reporting.api.requests.catalogue import NewMeter, NewProduct, NewRate, RolesSetting
from shared.events.commands.catalogue import CreateMeter, CreateProduct, RetireProduct, SetRate, SetRoleTemplates
from shared.events.state import Permission, RoleTemplate


def catalogue_router(doors: Doors) -> APIRouter:
    """``/v1/catalogue/products``."""
    router = new_router("catalogue", "/catalogue/products")
    _add_reads(router, doors)
    _add_writes(router, doors)
    _add_later_writes(router, doors)
    return router


def _add_reads(router: APIRouter, doors: Doors) -> None:
    catalogue = doors.application.catalogue

    @router.get("", response_model=answers.Products)
    async def several(caller: Asking, limit: Limit = 50, cursor: Cursor = None) -> Any:  # noqa: ARG001
        """List products."""
        return await catalogue.products(limit, cursor)

    @router.get("/{product}", response_model=answers.Product)
    async def one(caller: Asking, product: OfProduct) -> Any:  # noqa: ARG001
        """Return one product."""
        return await catalogue.product(product)

    @router.get("/{product}/meters", response_model=answers.Meters)
    async def meters(caller: Asking, product: OfProduct) -> Any:  # noqa: ARG001
        """List the meters of a product."""
        return {"items": (await catalogue.product(product)).meters}

    @router.get("/{product}/rates", response_model=answers.Rates)
    async def rates(caller: Asking, product: OfProduct) -> Any:  # noqa: ARG001
        """List the rates of a product's meters, by meter and in order of time."""
        found = (await catalogue.product(product)).meters
        return {"items": [{"meter": meter.meter, **dict(rate)} for meter in found for rate in meter.rates]}


def _add_writes(router: APIRouter, doors: Doors) -> None:
    catalogue = doors.application.catalogue

    @router.post("", **write_answers(answers.Product))
    async def create(caller: Asking, asked: NewProduct, command: CommandId) -> Response:
        """Create a product with the standard permissions and default roles. Vendor only."""
        payload = CreateProduct(product=asked.id, name=asked.name, sources=tuple(asked.sources))
        return await doors.write(payload, caller, command, lambda: answers.Product.of(catalogue.product(asked.id)))

    @router.post("/{product}/meters", **write_answers(answers.Product))
    async def add_meter(caller: Asking, product: OfProduct, asked: NewMeter, command: CommandId) -> Response:
        """Add a meter with its first rate. Vendor only."""
        payload = CreateMeter(product=product, meter=asked.id, **asked.model_dump(exclude={"id"}))
        return await doors.write(payload, caller, command, lambda: answers.Product.of(catalogue.product(product)))

    @router.post("/{product}/rates", **write_answers(answers.Product))
    async def add_rate(caller: Asking, product: OfProduct, asked: NewRate, command: CommandId) -> Response:
        """Add a rate of a meter, valid from a date on. Vendor only."""
        payload = SetRate(product=product, **asked.model_dump())
        return await doors.write(payload, caller, command, lambda: answers.Product.of(catalogue.product(product)))


def _add_later_writes(router: APIRouter, doors: Doors) -> None:
    catalogue = doors.application.catalogue

    @router.post("/{product}/retire", **write_answers(answers.Product))
    async def retire(caller: Asking, product: OfProduct, command: CommandId) -> Response:
        """Retire a product. Vendor only.

        Metering stops, and its units return to every pool; history and roles stay readable.
        """
        return await doors.write(
            RetireProduct(product=product), caller, command, lambda: answers.Product.of(catalogue.product(product))
        )

    @router.put("/{product}/roles", **write_answers(answers.Product))
    async def set_roles(caller: Asking, product: OfProduct, asked: RolesSetting, command: CommandId) -> Response:
        """Replace all permissions and default roles of the product's application. Vendor only."""
        payload = SetRoleTemplates(
            product=product,
            permissions=tuple(Permission(**one.model_dump()) for one in asked.permissions),
            roles=tuple(RoleTemplate(**one.model_dump()) for one in asked.roles),
        )
        return await doors.write(payload, caller, command, lambda: answers.Product.of(catalogue.product(product)))
