"""Routes of the sign-in at the provider, its callback, and the sign-out."""

import secrets
from datetime import timedelta

from fastapi import APIRouter, Request, Response

from services.reporting.auth import ClaimNames, TokenError
from services.reporting.pages.csrf import StartedSignIn
from services.reporting.pages.errors import page_route
from services.reporting.pages.provider import ProviderError
from services.reporting.pages.responder import PageResponder
from services.reporting.sessions import Person
from shared.runtime.process import logging

COOKIE = "unitpool_sign_in"
SIGN_IN_LIFETIME = timedelta(minutes=10)
MAX_ERROR_LENGTH = 200


def sign_in_router(responder: PageResponder, claims: ClaimNames) -> APIRouter:
    """``/sign-in``, ``/auth/callback``, ``/sign-out``."""
    router = APIRouter(include_in_schema=False, route_class=page_route(responder))
    log = logging.get("sign-in")

    @router.get("/sign-in")
    async def sign_in(to: str = "/") -> Response:
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        try:
            url = await responder.provider.authorization_url(state=state, nonce=nonce, verifier=verifier)
        except ProviderError as error:
            log.warning("provider_unavailable", error=str(error))
            return responder.message(None, 503)
        until = (responder.clock() + SIGN_IN_LIFETIME).timestamp()
        pending = StartedSignIn(state, nonce, verifier, to=_local(to), until=until)
        answer = responder.redirect(url)
        answer.set_cookie(
            COOKIE,
            responder.csrf.seal(pending),
            max_age=int(SIGN_IN_LIFETIME.total_seconds()),
            path="/auth",
            httponly=True,
            samesite="lax",
            secure=responder.is_secure,
        )
        return answer

    @router.get("/auth/callback")
    async def callback(request: Request, code: str = "", state: str = "", error: str = "") -> Response:
        pending = responder.csrf.unseal(request.cookies.get(COOKIE, ""))
        known = pending is not None and secrets.compare_digest(pending.state.encode(), state.encode())
        if pending is None or not known or pending.until < responder.clock().timestamp() or error or not code:
            log.warning("sign_in_refused", error=error[:MAX_ERROR_LENGTH] or "state")
            responder.application.count_failure(request.client.host if request.client else None)
            return _failed(responder, "The sign-in was not completed in time. Sign in again.")
        try:
            found = await responder.provider.redeem(code, verifier=pending.verifier, nonce=pending.nonce)
        except ProviderError as failed:
            log.warning("sign_in_failed", error=str(failed))
            return _failed(responder, "The sign-in could not be verified. Sign in again.")
        try:
            caller = claims.caller(found, None, None)
        except TokenError as refused:
            log.warning("sign_in_without_address", error=str(refused))
            return _failed(responder, "Your account has no verified e-mail address, which is required to sign in here.")
        caller = await responder.application.vendor_operators.with_current_role(caller)
        person = Person(caller.email, caller.name, caller.vendor)
        if former := request.cookies.get(responder.session_cookie):
            await responder.sessions.end(former)
        answer = responder.redirect(pending.to)
        responder.start_session(answer, await responder.sessions.begin(person, responder.clock()))
        _delete_cookie(responder, answer)
        return answer

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        who = await responder.signed_in(request)
        form = await request.form()
        if who is None:
            return responder.redirect("/")
        if not responder.csrf.is_form_token(str(form.get("csrf", "")), who.session):
            return responder.message(who, 403)
        await responder.sessions.end(who.session)
        answer = responder.redirect(await responder.provider.end_session_url() or "/")
        responder.end_session(answer)
        return answer

    return router


def _local(to: str) -> str:
    """Return ``to`` if it is a path of the page, else the start page."""
    known = to.startswith("/subscriptions/") and to.isascii() and to.isprintable() and "\\" not in to
    return to if known else "/"


def _delete_cookie(responder: PageResponder, answer: Response) -> None:
    answer.delete_cookie(COOKIE, path="/auth", httponly=True, samesite="lax", secure=responder.is_secure)


def _failed(responder: PageResponder, sentence: str) -> Response:
    answer = responder.page(
        "message.html",
        None,
        400,
        title="Not signed in",
        paragraphs=[sentence],
        link=("/sign-in", "Sign in again"),
        reference=None,
    )
    _delete_cookie(responder, answer)
    return answer
