"""A subscription's alerts, and where they go."""

import base64
import secrets
from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import alerts as answers
from services.reporting.api.edge import (
    PENDING,
    Asking,
    CommandId,
    Doors,
    answer_write,
    chosen_id,
    existing,
    listed,
    new_router,
)
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.requests import NewChannel
from shared.events.commands import AcknowledgeAlert, AddChannel, RemoveChannel
from shared.events.ids import SubscriptionId

SECRET_BYTES = 32


def alerts_router(doors: Doors) -> APIRouter:
    """``/v1/subscriptions/{id}/alerts``, ``/alert-channels``."""
    router = new_router("alerts", "/subscriptions/{subscription}")
    _add_alerts(router, doors)
    _add_channels(router, doors)
    return router


def _add_alerts(router: APIRouter, doors: Doors) -> None:
    queries, commands = doors.application.queries, doors.application.commands

    @router.get("/alerts", response_model=answers.Alerts)
    async def several(
        caller: Asking, subscription: str, limit: Limit = 50, cursor: Cursor = None, active: bool = False
    ) -> Any:
        """Newest first; ``active``: only those that are not over."""
        return listed(await queries.alerts_page(caller, subscription, limit, cursor, active_only=active))

    @router.post("/alerts/{alert}/acknowledge", response_model=answers.Alert, responses=PENDING)
    async def acknowledge(caller: Asking, subscription: str, alert: str, command: CommandId) -> Response:
        """Say that it was seen."""
        named = SubscriptionId(existing(subscription, "subscription"))
        payload = AcknowledgeAlert(subscription=named, alert=existing(alert, "alert"))
        answer = await commands.submit(payload, caller, command)
        return await answer_write(answer, lambda: queries.alert(caller, subscription, alert))


def _add_channels(router: APIRouter, doors: Doors) -> None:
    queries, commands = doors.application.queries, doors.application.commands

    @router.get("/alert-channels", response_model=answers.Channels)
    async def several(caller: Asking, subscription: str, limit: Limit = 50, cursor: Cursor = None) -> Any:
        """Where alerts go; never with a secret."""
        return listed(await queries.channels(caller, subscription, limit, cursor))

    @router.post("/alert-channels", response_model=answers.Channel, responses=PENDING)
    async def add(caller: Asking, subscription: str, asked: NewChannel, command: CommandId) -> Response:
        """A webhook. The answer shows its signing secret (Standard Webhooks), this once."""
        channel, secret = chosen_id(caller, command), new_signing_secret()
        payload = AddChannel(
            subscription=SubscriptionId(existing(subscription, "subscription")),
            channel=channel,
            kind=asked.kind,
            url=str(asked.url),
            sealed_secret=commands.seal(secret),
        )
        answer = await commands.submit(payload, caller, command, secret=secret)
        return await answer_write(answer, lambda: queries.channel(caller, subscription, channel), secret=answer.secret)

    @router.delete("/alert-channels/{channel}", response_model=answers.Channel, responses=PENDING)
    async def remove(caller: Asking, subscription: str, channel: str, command: CommandId) -> Response:
        """Nothing more goes there."""
        named = SubscriptionId(existing(subscription, "subscription"))
        payload = RemoveChannel(subscription=named, channel=existing(channel, "channel"))
        answer = await commands.submit(payload, caller, command)
        return await answer_write(answer, lambda: queries.channel(caller, subscription, channel))


def new_signing_secret() -> str:
    """A secret as the Standard Webhooks specification writes it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
