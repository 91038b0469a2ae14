"""Identifiers in paths and queries, validated before they are looked up.

An impossible identifier is not found in a path, and refused by name in a query. The dependencies are coroutines
although they do not await: FastAPI runs plain functions in a thread.
"""

from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import TypeAdapter, ValidationError

from services.reporting.api.fields import invalid
from services.reporting.api.routing import ApiContext
from services.reporting.queries.access import is_id, is_role_id, not_found
from shared.events.ids import AccountId, Email, ProductId, RoleId, SubscriptionId

_EMAIL: TypeAdapter[str] = TypeAdapter(Email)


def path_id(identifier: str, what: str) -> str:
    """Check the text of a path that should be an id of a ``what``, and return it.

    Raises:
        ProblemError: ``not_found``, if it does not have the form of an id.
    """
    if not is_id(identifier):
        raise not_found(what)
    return identifier


def query_id(name: str, identifier: str | None) -> str | None:
    """Check the id in a query's parameter ``name``, and return it.

    ``None``: it is not given.

    Raises:
        ProblemError: it does not have the form of an id.
    """
    if identifier is not None and not is_id(identifier):
        raise invalid(name, f"is not the id of a {name}")
    return identifier


async def _subscription_in_path(subscription: str) -> SubscriptionId:
    return SubscriptionId(path_id(subscription, "subscription"))


async def _account_in_path(account: str) -> AccountId:
    return AccountId(path_id(account, "account"))


async def _product_in_path(product: str) -> ProductId:
    return ProductId(path_id(product, "product"))


async def _role_in_path(role: str) -> RoleId:
    if not is_role_id(role):
        raise not_found("role")
    return RoleId(role)


async def _person_in_path(email: str) -> str:
    try:
        return _EMAIL.validate_python(email)
    except ValidationError:
        raise not_found("person") from None


async def _export_in_path(export: str) -> str:
    return path_id(export, "export")


async def _product_in_query(
    request: Request, product: Annotated[str | None, Query(max_length=64)] = None
) -> str | None:
    """Return the product of a query.

    The catalogue is public, so an unknown product is refused by name.
    """
    context: ApiContext = request.app.state.api_context
    if product is not None and not await context.application.catalogue.is_product(product):
        raise invalid("product", "is not a product of the catalogue")
    return product


async def _subscription_in_query(subscription: Annotated[str | None, Query(max_length=64)] = None) -> str | None:
    return query_id("subscription", subscription)


async def _report_in_query(report: Annotated[str | None, Query(max_length=64)] = None) -> str | None:
    return query_id("report", report)


async def _account_in_query(account: Annotated[str | None, Query(max_length=64)] = None) -> str | None:
    return query_id("account", account)


SubscriptionInPath = Annotated[SubscriptionId, Depends(_subscription_in_path)]
AccountInPath = Annotated[AccountId, Depends(_account_in_path)]
ProductInPath = Annotated[ProductId, Depends(_product_in_path)]
RoleInPath = Annotated[RoleId, Depends(_role_in_path)]
PersonInPath = Annotated[str, Depends(_person_in_path)]
ExportInPath = Annotated[str, Depends(_export_in_path)]
ProductInQuery = Annotated[str | None, Depends(_product_in_query)]
SubscriptionInQuery = Annotated[str | None, Depends(_subscription_in_query)]
AccountInQuery = Annotated[str | None, Depends(_account_in_query)]
ReportInQuery = Annotated[str | None, Depends(_report_in_query)]
