"""The central view: applications, their default roles, and holders of permissions."""

from typing import Any

from fastapi import APIRouter

from services.reporting.api.answers import applications as answers
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.identifiers import AccountInQuery, ProductInPath
from services.reporting.api.routing import ApiContext, CurrentCaller, new_router


def applications_router(context: ApiContext) -> APIRouter:
    """``/v1/applications``."""
    router = new_router("people and roles", "/applications")
    catalogue = context.application.catalogue

    @router.get("", response_model=answers.Applications)
    async def several(caller: CurrentCaller, limit: Limit = 50, cursor: Cursor = None) -> Any:  # noqa: ARG001
        """List applications with their default roles, each in one line."""
        return await catalogue.applications(limit, cursor)

    @router.get("/{product}", response_model=answers.Application)
    async def one(caller: CurrentCaller, product: ProductInPath, account: AccountInQuery) -> Any:
        """Return an application's permissions with description, default roles and holders.

        Holders are those in ``account``, else in every account whose people the caller may see.
        """
        return await catalogue.application(caller, product, account)

    return router
