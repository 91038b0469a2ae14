"""The central view: each product's application, its default roles, and who holds which permission."""

from typing import Any

from fastapi import APIRouter

from services.reporting.api.answers import applications as answers
from services.reporting.api.edge import Asking, Doors, new_router
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.names import AccountWanted, OfProduct


def applications_router(doors: Doors) -> APIRouter:
    """``/v1/applications``."""
    router = new_router("people and roles", "/applications")
    catalogue = doors.application.catalogue

    @router.get("", response_model=answers.Applications)
    async def several(caller: Asking, limit: Limit = 50, cursor: Cursor = None) -> Any:  # noqa: ARG001
        """Each application with the number of its default roles, and each role in one line."""
        return await catalogue.applications(limit, cursor)

    @router.get("/{product}", response_model=answers.Application)
    async def one(caller: Asking, product: OfProduct, account: AccountWanted) -> Any:
        """Permission, description, default roles, held by: in ``account``, else where the caller may see people."""
        return await catalogue.application(caller, product, account)

    return router
