"""The statement of a subscription as of a past instant."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from services.reporting.api.answers.statements import Statement
from services.reporting.api.fields import At, invalid
from services.reporting.api.identifiers import SubscriptionInPath
from services.reporting.api.routing import ApiContext, CurrentCaller, new_router
from services.reporting.domain.statements import AsOfError, StatementFormat, StatementKey
from services.reporting.exports.statements import Statements

_MEDIA_TYPES: Final = {"json": "application/json", "pdf": "application/pdf"}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "It is the one that `If-None-Match` names"},
}


def statements_router(context: ApiContext, statements: Statements) -> APIRouter:
    """``/v1/subscriptions/{id}/statement``."""
    router = new_router("reports", "/subscriptions")

    @router.get("/{subscription}/statement", response_model=Statement, responses=_ANSWERS)
    async def statement(
        request: Request,
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        as_of: Annotated[At, Query(description="An instant of the last 12 months")],
        format: StatementFormat = "json",
    ) -> Response:
        """Return what was known of a subscription at an instant.

        It has the same bytes whenever it is requested: lots, allocations, policies and consumption. Of the window that
        was open then, usage is counted up to the last full hour; each figure says until when.
        """
        key = StatementKey(subscription, as_of, format)
        try:
            made = await statements.find(caller, key)
            if made is None:
                person = await context.application.commands.find_person(caller, None, subscription)
                made = await statements.make(caller, person, key)
        except AsOfError as error:
            raise invalid("as_of", str(error)) from error
        headers = {"ETag": f'"{made.sha256}"', "Cache-Control": "private, no-cache"}
        if made.sha256 in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        name = f"statement-{subscription}-{as_of:%Y%m%dT%H%M%SZ}.{format}"
        headers |= {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
        return Response(made.content, media_type=_MEDIA_TYPES[format], headers=headers)

    return router
