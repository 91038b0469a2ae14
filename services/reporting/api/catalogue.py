"""The catalogue: products, their meters, and the meters' rates.

The vendor writes, everyone reads.
"""

from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import catalogue as answers
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.identifiers import ProductInPath
from services.reporting.api.requests.catalogue import NewMeter, NewProduct, NewRate, RolesSetting
from services.reporting.api.routing import ApiContext, CommandId, CurrentCaller, new_router, write_answers
from shared.events.commands.catalogue import CreateMeter, CreateProduct, RetireProduct, SetRate, SetRoleTemplates
from shared.events.state import Permission, RoleTemplate


def catalogue_router(context: ApiContext) -> APIRouter:
    """``/v1/catalogue/products``."""
    router = new_router("catalogue", "/catalogue/products")
    _add_reads(router, context)
    _add_writes(router, context)
    _add_later_writes(router, context)
    return router


def _add_reads(router: APIRouter, context: ApiContext) -> None:
    catalogue = context.application.catalogue

    @router.get("", response_model=answers.Products)
    async def several(caller: CurrentCaller, limit: Limit = 50, cursor: Cursor = None) -> Any:  # noqa: ARG001
        """List products."""
        return await catalogue.products(limit, cursor)

    @router.get("/{product}", response_model=answers.Product)
    async def one(caller: CurrentCaller, product: ProductInPath) -> Any:  # noqa: ARG001
        """Return one product."""
        return await catalogue.product(product)

    @router.get("/{product}/meters", response_model=answers.Meters)
    async def meters(caller: CurrentCaller, product: ProductInPath) -> Any:  # noqa: ARG001
        """List the meters of a product."""
        return {"items": (await catalogue.product(product)).meters}

    @router.get("/{product}/rates", response_model=answers.Rates)
    async def rates(caller: CurrentCaller, product: ProductInPath) -> Any:  # noqa: ARG001
        """List the rates of a product's meters, by meter and in order of time."""
        found = (await catalogue.product(product)).meters
        return {"items": [{"meter": meter.meter, **dict(rate)} for meter in found for rate in meter.rates]}


def _add_writes(router: APIRouter, context: ApiContext) -> None:
    catalogue = context.application.catalogue

    @router.post("", **write_answers(answers.Product))
    async def create(caller: CurrentCaller, body: NewProduct, command: CommandId) -> Response:
        """Create a product with the standard permissions and default roles. Vendor only."""
        payload = CreateProduct(product=body.id, name=body.name, sources=tuple(body.sources))
        return await context.write(payload, caller, command, lambda: answers.Product.of(catalogue.product(body.id)))

    @router.post("/{product}/meters", **write_answers(answers.Product))
    async def add_meter(caller: CurrentCaller, product: ProductInPath, body: NewMeter, command: CommandId) -> Response:
        """Add a meter with its first rate. Vendor only."""
        payload = CreateMeter(product=product, meter=body.id, **body.model_dump(exclude={"id"}))
        return await context.write(payload, caller, command, lambda: answers.Product.of(catalogue.product(product)))

    @router.post("/{product}/rates", **write_answers(answers.Product))
    async def add_rate(caller: CurrentCaller, product: ProductInPath, body: NewRate, command: CommandId) -> Response:
        """Add a rate of a meter, valid from a date on. Vendor only."""
        payload = SetRate(product=product, **body.model_dump())
        return await context.write(payload, caller, command, lambda: answers.Product.of(catalogue.product(product)))


def _add_later_writes(router: APIRouter, context: ApiContext) -> None:
    catalogue = context.application.catalogue

    @router.post("/{product}/retire", **write_answers(answers.Product))
    async def retire(caller: CurrentCaller, product: ProductInPath, command: CommandId) -> Response:
        """Retire a product. Vendor only.

        Metering stops, and its units return to every pool; history and roles stay readable.
        """
        return await context.write(
            RetireProduct(product=product), caller, command, lambda: answers.Product.of(catalogue.product(product))
        )

    @router.put("/{product}/roles", **write_answers(answers.Product))
    async def set_roles(
        caller: CurrentCaller, product: ProductInPath, body: RolesSetting, command: CommandId
    ) -> Response:
        """Replace all permissions and default roles of the product's application.

        Vendor only.
        """
        payload = SetRoleTemplates(
            product=product,
            permissions=tuple(Permission(**one.model_dump()) for one in body.permissions),
            roles=tuple(RoleTemplate(**one.model_dump()) for one in body.roles),
        )
        return await context.write(payload, caller, command, lambda: answers.Product.of(catalogue.product(product)))
