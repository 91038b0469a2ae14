"""Alerts and alert channels of a subscription."""

import base64
import secrets
from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import alerts as answers
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.identifiers import SubscriptionInPath, path_id
from services.reporting.api.requests.alerts import NewChannel
from services.reporting.api.routing import ApiContext, CommandId, CurrentCaller, derive_id, new_router, write_answers
from shared.events.commands.alerts import AcknowledgeAlert, AddChannel, RemoveChannel

SECRET_BYTES = 32


def alerts_router(context: ApiContext) -> APIRouter:
    """``/v1/subscriptions/{id}/alerts``, ``/alert-channels``."""
    router = new_router("alerts", "/subscriptions/{subscription}")
    _add_alerts(router, context)
    _add_channels(router, context)
    return router


def _add_alerts(router: APIRouter, context: ApiContext) -> None:
    queries = context.application.queries

    @router.get("/alerts", response_model=answers.Alerts)
    async def several(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        limit: Limit = 50,
        cursor: Cursor = None,
        active: bool = False,
    ) -> Any:
        """List alerts, newest first; ``active``: without resolved ones."""
        return await queries.alerts(caller, subscription, limit, cursor, active_only=active)

    @router.post("/alerts/{alert}/acknowledge", **write_answers(answers.Alert))
    async def acknowledge(
        caller: CurrentCaller, subscription: SubscriptionInPath, alert: str, command: CommandId
    ) -> Response:
        """Acknowledge an alert."""
        seen = await queries.version(caller, subscription)
        payload = AcknowledgeAlert(subscription=subscription, alert=path_id(alert, "alert"), seen=seen)
        return await context.write(
            payload, caller, command, lambda: answers.Alert.of(queries.alert(caller, subscription, alert))
        )


def _add_channels(router: APIRouter, context: ApiContext) -> None:
    queries, commands = context.application.queries, context.application.commands

    @router.get("/alert-channels", response_model=answers.Channels)
    async def several(
        caller: CurrentCaller, subscription: SubscriptionInPath, limit: Limit = 50, cursor: Cursor = None
    ) -> Any:
        """List alert channels, without secrets.

        Of an address, only its host and last four characters are shown.
        """
        return await queries.channels(caller, subscription, limit, cursor)

    @router.post("/alert-channels", **write_answers(answers.Channel))
    async def add(
        caller: CurrentCaller, subscription: SubscriptionInPath, body: NewChannel, command: CommandId
    ) -> Response:
        """Add a webhook. The answer shows its signing secret (Standard Webhooks) once.

        After a 202, the answer to `GET /v1/commands/{id}` shows the secret once, within a day.
        """
        channel, secret = derive_id(caller, command), new_signing_secret()
        payload = AddChannel(
            subscription=subscription,
            channel=channel,
            kind=body.kind,
            url=str(body.url),
            sealed_secret=commands.seal(secret),
            seen=await queries.version(caller, subscription),
        )
        return await context.write(
            payload,
            caller,
            command,
            lambda: answers.Channel.of(queries.channel(caller, subscription, channel)),
            secret=secret,
        )

    @router.delete("/alert-channels/{channel}", **write_answers(answers.Channel))
    async def remove(
        caller: CurrentCaller, subscription: SubscriptionInPath, channel: str, command: CommandId
    ) -> Response:
        """Remove a channel: no further alerts are sent to it."""
        seen = await queries.version(caller, subscription)
        payload = RemoveChannel(subscription=subscription, channel=path_id(channel, "channel"), seen=seen)
        return await context.write(
            payload, caller, command, lambda: answers.Channel.of(queries.channel(caller, subscription, channel))
        )


def new_signing_secret() -> str:
    """Generate a secret in the form of the Standard Webhooks specification."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
