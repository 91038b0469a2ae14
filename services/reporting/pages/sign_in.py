"""Signing in at the provider and coming back, and signing out."""

import secrets
from datetime import timedelta

from fastapi import APIRouter, Request, Response

from services.reporting.auth import Claims, TokenError
from services.reporting.pages.csrf import StartedSignIn
from services.reporting.pages.errors import page_route
from services.reporting.pages.provider import ProviderError
from services.reporting.pages.site import Site
from services.reporting.sessions import Person
from shared.runtime.process import logging

COOKIE = "unitpool_sign_in"
WITHIN = timedelta(minutes=10)
MAX_ERROR_LENGTH = 200


def sign_in_router(site: Site, claims: Claims) -> APIRouter:
    """``/sign-in``, ``/auth/callback``, ``/sign-out``."""
    router = APIRouter(include_in_schema=False, route_class=page_route(site))
    log = logging.get("sign-in")

    @router.get("/sign-in")
    async def sign_in(to: str = "/") -> Response:
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        try:
            url = await site.provider.authorization_url(state=state, nonce=nonce, verifier=verifier)
        except ProviderError as error:
            log.warning("provider_unavailable", error=str(error))
            return site.message(None, 503)
        kept = StartedSignIn(state, nonce, verifier, to=_local(to), until=(site.clock() + WITHIN).timestamp())
        answer = site.redirect(url)
        answer.set_cookie(
            COOKIE,
            site.csrf.seal(kept),
            max_age=int(WITHIN.total_seconds()),
            path="/auth",
            httponly=True,
            samesite="lax",
            secure=site.is_secure,
        )
        return answer

    @router.get("/auth/callback")
    async def callback(request: Request, code: str = "", state: str = "", error: str = "") -> Response:
        kept = site.csrf.unseal(request.cookies.get(COOKIE, ""))
        known = kept is not None and secrets.compare_digest(kept.state.encode(), state.encode())
        if kept is None or not known or kept.until < site.clock().timestamp() or error or not code:
            log.warning("sign_in_refused", error=error[:MAX_ERROR_LENGTH] or "state")
            site.application.check_failures(request.client.host if request.client else None)
            return _again(site, "The sign-in was not finished, or took too long. Nothing is wrong; begin it again.")
        try:
            found = await site.provider.redeem(code, verifier=kept.verifier, nonce=kept.nonce)
        except ProviderError as failed:
            log.warning("sign_in_failed", error=str(failed))
            return _again(site, "The sign-in could not be confirmed. Try again.")
        try:
            caller = claims.caller(found, None, None)
        except TokenError as refused:
            log.warning("sign_in_without_address", error=str(refused))
            return _again(site, "Your account there has no confirmed e-mail address, which is how you are known here.")
        caller = await site.application.words.judged(caller)
        person = Person(caller.email, caller.name, caller.vendor)
        if former := request.cookies.get(site.session_cookie):
            await site.sessions.end(former)
        answer = site.redirect(kept.to)
        site.start_session(answer, await site.sessions.begin(person, site.clock()))
        _forget(site, answer)
        return answer

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        who = await site.signed_in(request)
        form = await request.form()
        if who is None:
            return site.redirect("/")
        if not site.csrf.is_form_token(str(form.get("csrf", "")), who.session):
            return site.message(who, 403)
        await site.sessions.end(who.session)
        answer = site.redirect(await site.provider.end_session_url() or "/")
        site.end_session(answer)
        return answer

    return router


def _local(to: str) -> str:
    """Only ever a path of our own."""
    known = to.startswith("/subscriptions/") and to.isascii() and to.isprintable() and "\\" not in to
    return to if known else "/"


def _forget(site: Site, answer: Response) -> None:
    answer.delete_cookie(COOKIE, path="/auth", httponly=True, samesite="lax", secure=site.is_secure)


def _again(site: Site, sentence: str) -> Response:
    answer = site.page(
        "message.html",
        None,
        400,
        title="Not signed in",
        paragraphs=[sentence],
        link=("/sign-in", "Sign in again"),
        reference=None,
    )
    _forget(site, answer)
    return answer
