"""The primary contact of a subscription, and the grants of its delegates."""

from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import people as answers
from services.reporting.api.answers.overview import Overview
from services.reporting.api.identifiers import PersonInPath, SubscriptionInPath
from services.reporting.api.overview import read_overview
from services.reporting.api.requests.subscriptions import GrantsSetting, PrimaryContactSetting
from services.reporting.api.routing import (
    ApiContext,
    CommandId,
    CurrentCaller,
    ExpectedVersions,
    new_router,
    write_answers,
)
from shared.events.commands.subscriptions import SetGrants, SetPrimaryContact


def grants_router(context: ApiContext) -> APIRouter:
    """``/v1/subscriptions/{id}/primary-contact``, ``/grants``."""
    router = new_router("people and roles", "/subscriptions/{subscription}")
    queries = context.application.queries

    @router.put("/primary-contact", **write_answers(Overview))
    async def hand_over(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        body: PrimaryContactSetting,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Hand the subscription over to a person known in the account.

        By the primary contact or the vendor.
        """
        person = await queries.person_id(subscription, body.email)
        payload = SetPrimaryContact(subscription=subscription, person=person)
        return await context.write(
            payload, caller, command, lambda: read_overview(queries, caller, subscription), versions=versions
        )

    @router.get("/grants", response_model=answers.Grants)
    async def several(caller: CurrentCaller, subscription: SubscriptionInPath) -> Any:
        """List the delegates' grants, by e-mail."""
        return {"items": await queries.grants(caller, subscription)}

    @router.get("/grants/{email}", response_model=answers.Granted)
    async def one(caller: CurrentCaller, subscription: SubscriptionInPath, email: PersonInPath) -> Any:
        """Return the grants of a person known in the account, of which there may be none."""
        return await queries.grant(caller, subscription, email)

    @router.put("/grants/{email}", **write_answers(answers.Granted))
    async def give(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        *,
        email: PersonInPath,
        body: GrantsSetting,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Replace all grants of a person known in the account. By the primary contact."""
        person = await queries.person_id(subscription, email)
        payload = SetGrants(subscription=subscription, person=person, grants=tuple(body.grants))
        return await context.write(
            payload,
            caller,
            command,
            lambda: answers.Granted.of(queries.grant(caller, subscription, email)),
            versions=versions,
        )

    @router.delete("/grants/{email}", **write_answers(answers.Granted))
    async def take(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        email: PersonInPath,
        command: CommandId,
        versions: ExpectedVersions,
    ) -> Response:
        """Revoke all grants of a person. By the primary contact."""
        payload = SetGrants(subscription=subscription, person=await queries.person_id(subscription, email), grants=())
        return await context.write(
            payload,
            caller,
            command,
            lambda: answers.Granted.of(queries.grant(caller, subscription, email)),
            versions=versions,
        )

    return router
