"""Who I am, commands that I sent, and the audit log."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from services.reporting.api.answers import records as answers
from services.reporting.api.edge import Asking, Doors, new_router
from services.reporting.api.fields import At, Cursor, Limit, check_order, invalid
from services.reporting.api.names import SubscriptionWanted
from services.reporting.domain.actions import ACTIONS
from services.reporting.queries.access import not_found
from services.reporting.store.audit import Filter
from shared import people
from shared.events.commands.metering import CreateIngestKey, RotateIngestKey

_SECRETS = {one.event_type: "key" for one in (CreateIngestKey, RotateIngestKey)}
"""What the secret of a command is called in its answers, where that is not ``secret``."""


def records_router(doors: Doors) -> APIRouter:
    """``/v1/me``, ``/v1/commands``, ``/v1/audit``."""
    router = new_router("records")
    queries, records = doors.application.queries, doors.application.records

    @router.get("/me", response_model=answers.Me)
    async def me(caller: Asking) -> Any:
        """Who I am, what I may do, where."""
        return await queries.me(caller)

    @router.get("/commands/{command_id}", response_model=answers.Command)
    async def command(caller: Asking, command_id: str, request: Request, response: Response) -> Any:
        """A command that I sent, and what became of it.

        A secret that was made with it (`secret` of a channel, `key` of an ingest key) is shown this once, where the
        answer to the command itself did not show it (202).
        """
        try:
            id = UUID(command_id)  # noqa: A001
        except ValueError:
            raise not_found("command") from None
        shown = await records.command(caller, id)
        answered = answers.Command.model_validate(shown, from_attributes=True)
        if request.scope.get("is_head") or shown.status != "accepted":  # HEAD would throw it away
            return answered
        secret = await doors.application.commands.take_secret(caller, id)
        if secret is None:
            return answered
        response.headers["Cache-Control"] = "no-store"
        return answered.model_copy(update={_SECRETS.get(shown.command, "secret"): secret})

    @router.get("/audit", response_model=answers.AuditEntries)
    async def audit(
        caller: Asking,
        *,
        limit: Limit = 50,
        cursor: Cursor = None,
        start: Annotated[At | None, Query(alias="from")] = None,
        end: Annotated[At | None, Query(alias="to")] = None,
        action: Annotated[str | None, Query(max_length=200)] = None,
        actor: Annotated[str | None, Query(max_length=254)] = None,
        outcome: Literal["allowed", "denied"] | None = None,
        subscription: SubscriptionWanted,
    ) -> Any:
        """Decisions, allowed and denied, the latest first; with ``subscription``, those that concern it."""
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
