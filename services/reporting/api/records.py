"""The caller, the commands that they sent, and the audit log."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from services.reporting.api.answers import records as answers
from services.reporting.api.fields import At, Cursor, Limit, check_order, invalid
from services.reporting.api.identifiers import SubscriptionInQuery
from services.reporting.api.routing import ApiContext, CurrentCaller, new_router
from services.reporting.domain.actions import ACTIONS
from services.reporting.queries.access import not_found
from services.reporting.store.audit import Filter
from shared import people
from shared.events.commands.metering import CreateIngestKey, RotateIngestKey

_SECRETS = {one.event_type: "key" for one in (CreateIngestKey, RotateIngestKey)}
"""The member of answers that shows a command's secret, if not ``secret``."""


def records_router(context: ApiContext) -> APIRouter:
    """``/v1/me``, ``/v1/commands``, ``/v1/audit``."""
    router = new_router("records")
    queries, records = context.application.queries, context.application.records

    @router.get("/me", response_model=answers.Me)
    async def me(caller: CurrentCaller) -> Any:
        """Describe the caller and their permissions in each subscription."""
        return await queries.me(caller)

    @router.get("/commands/{command_id}", response_model=answers.Command)
    async def command(caller: CurrentCaller, command_id: str, request: Request, response: Response) -> Any:
        """Return a command that the caller sent, with its outcome.

        The secret created with it (`secret` of a channel, `key` of an ingest key) is shown once, if the answer to the
        command was a 202 and did not show it.
        """
        try:
            id = UUID(command_id)  # noqa: A001
        except ValueError:
            raise not_found("command") from None
        shown = await records.command(caller, id)
        answered = answers.Command.model_validate(shown, from_attributes=True)
        if request.scope.get("is_head") or shown.status != "accepted":  # HEAD would erase the secret unseen
            return answered
        secret = await context.application.commands.take_secret(caller, id)
        if secret is None:
            return answered
        response.headers["Cache-Control"] = "no-store"
        return answered.model_copy(update={_SECRETS.get(shown.command, "secret"): secret})

    @router.get("/audit", response_model=answers.AuditEntries)
    async def audit(
        caller: CurrentCaller,
        *,
        limit: Limit = 50,
        cursor: Cursor = None,
        start: Annotated[At | None, Query(alias="from")] = None,
        end: Annotated[At | None, Query(alias="to")] = None,
        action: Annotated[str | None, Query(max_length=200)] = None,
        actor: Annotated[str | None, Query(max_length=254)] = None,
        outcome: Literal["allowed", "denied"] | None = None,
        subscription: SubscriptionInQuery,
    ) -> Any:
        """List allowed and denied decisions, newest first.

        With ``subscription``, only those about it are listed.
        """
        for name, text in (("action", action), ("actor", actor)):
            if text is not None and not text.isprintable():
                raise invalid(name, "must be printable text")
        if action is not None and action not in ACTIONS:
            raise invalid("action", "is not an action that is audited, like purchase-lot")
        check_order(start, end)
        only = [subscription] if subscription else None
        wanted = Filter(only, start, end, action, people.fold(actor) if actor else None, outcome)
        return await records.audit(caller, limit, cursor, wanted)

    return router
