"""Identifiers in paths and queries, validated before they are looked up.

An impossible identifier is not found in a path, and refused by name in a query. The dependencies are coroutines
although they do not await: FastAPI runs plain functions in a thread.
"""

from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import TypeAdapter, ValidationError

from services.reporting.api.edge import Doors
from services.reporting.api.fields import invalid
from services.reporting.queries.access import is_id, is_role_id, not_found
from shared.events.ids import AccountId, Email, ProductId, RoleId, SubscriptionId

_EMAIL: TypeAdapter[str] = TypeAdapter(Email)


def existing(identifier: str, what: str) -> str:
    """Return the id of a path, which may be any text.

    Raises:
        ProblemError: ``not_found``, if it does not have the form of an id.
    """
    if not is_id(identifier):
        raise not_found(what)
    return identifier


def wanted_id(name: str, identifier: str | None) -> str | None:
    """Return the id of a query.

    Raises:
        ProblemError: it does not have the form of an id.
    """
    if identifier is not None and not is_id(identifier):
        raise invalid(name, f"is not the id of a {name}")
    return identifier


async def _named_subscription(subscription: str) -> SubscriptionId:
    return SubscriptionId(existing(subscription, "subscription"))


async def _named_account(account: str) -> AccountId:
    return AccountId(existing(account, "account"))


async def _named_product(product: str) -> ProductId:
    return ProductId(existing(product, "product"))


async def _named_role(role: str) -> RoleId:
    if not is_role_id(role):
        raise not_found("role")
    return RoleId(role)


async def _named_person(email: str) -> str:
    try:
        return _EMAIL.validate_python(email)
    except ValidationError:
        raise not_found("person") from None


async def _product_wanted(request: Request, product: Annotated[str | None, Query(max_length=64)] = None) -> str | None:
    """Return the product of a query. The catalogue is public, so an unknown product is refused by name."""
    doors: Doors = request.app.state.doors
    if product is not None and not await doors.application.catalogue.is_product(product):
        raise invalid("product", "is not a product of the catalogue")
    return product


async def _subscription_wanted(subscription: Annotated[str | None, Query(max_length=64)] = None) -> str | None:
    return wanted_id("subscription", subscription)


async def _account_wanted(account: Annotated[str | None, Query(max_length=64)] = None) -> str | None:
    return wanted_id("account", account)


InSubscription = Annotated[SubscriptionId, Depends(_named_subscription)]
InAccount = Annotated[AccountId, Depends(_named_account)]
OfProduct = Annotated[ProductId, Depends(_named_product)]
OfRole = Annotated[RoleId, Depends(_named_role)]
OfPerson = Annotated[str, Depends(_named_person)]
ProductWanted = Annotated[str | None, Depends(_product_wanted)]
SubscriptionWanted = Annotated[str | None, Depends(_subscription_wanted)]
AccountWanted = Annotated[str | None, Depends(_account_wanted)]
