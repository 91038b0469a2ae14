"""The issuer's HTTP interface.

It has discovery, JWKS, authorization with PKCE (RFC 7636), token, and sign-out.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from deploy.local.oidc.sign_in import message_page, sign_in_page
from deploy.local.oidc.tokens import ACCESS_SECONDS, Issuer
from deploy.local.people import PEOPLE, DemoPerson

CODE_SECONDS = 120
_REQUEST_FIELDS = (
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
)


@dataclass(frozen=True, slots=True)
class Client:
    """The client of the issuer, and the addresses to which people may be returned."""

    client_id: str
    client_secret: str
    redirect_uris: tuple[str, ...]
    signed_out_uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Code:
    person: DemoPerson
    asked: dict[str, str]
    good_until: float


@dataclass
class _Codes:
    """Authorization codes: valid once, for ``CODE_SECONDS``."""

    waiting: dict[str, _Code] = field(default_factory=dict)

    def issue(self, person: DemoPerson, asked: dict[str, str]) -> str:
        """Make a code for ``person``.

        ``asked``: the parameters of the authorization request.
        """
        now = time.monotonic()
        self.waiting = {code: one for code, one in self.waiting.items() if one.good_until > now}
        code = secrets.token_urlsafe(24)
        self.waiting[code] = _Code(person, asked, now + CODE_SECONDS)
        return code

    def redeem(self, code: str) -> _Code | None:
        """Take a code, which is not valid afterwards; ``None`` if it is not valid now."""
        found = self.waiting.pop(code, None)
        return found if found and found.good_until > time.monotonic() else None


def build_app(issuer: Issuer, client: Client, people: Sequence[DemoPerson] = PEOPLE) -> FastAPI:
    """Build the issuer's application."""
    app = FastAPI(title="Unitpool demo sign-in", docs_url=None, redoc_url=None, openapi_url=None)
    _describe(app, issuer)
    _authorize(app, client, people, codes := _Codes())
    _token(app, issuer, client, codes)
    _end_session(app, client)
    return app


def _describe(app: FastAPI, issuer: Issuer) -> None:
    @app.get("/.well-known/openid-configuration")
    async def configuration() -> dict[str, Any]:
        return {
            "issuer": issuer.issuer,
            "authorization_endpoint": f"{issuer.issuer}/authorize",
            "token_endpoint": f"{issuer.issuer}/token",
            "jwks_uri": f"{issuer.issuer}/jwks",
            "end_session_endpoint": f"{issuer.issuer}/end_session",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "email", "profile"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }

    @app.get("/jwks")
    async def jwks() -> dict[str, Any]:
        return issuer.jwks()

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}


def _authorize(app: FastAPI, client: Client, people: Sequence[DemoPerson], codes: _Codes) -> None:
    by_name = {one.who: one for one in people}

    def refused(asked: dict[str, str]) -> Response | None:
        """Return the answer to an invalid request; ``None`` if it is valid.

        Errors are only sent to an allowed address; otherwise the answer is a page.
        """
        if asked.get("client_id") != client.client_id:
            return HTMLResponse(message_page("Cannot sign in", "This application is not known here."), 400)
        if asked.get("redirect_uri") not in client.redirect_uris:
            return HTMLResponse(message_page("Cannot sign in", "The address to return to is not allowed."), 400)
        if asked.get("response_type") != "code" or "openid" not in asked.get("scope", "").split():
            return _back(asked, error="invalid_request")
        if not asked.get("code_challenge") or asked.get("code_challenge_method") != "S256":
            return _back(asked, error="invalid_request", error_description="PKCE with S256 is required")
        return None

    @app.get("/authorize")
    async def show_people(request: Request) -> Response:
        asked = {name: request.query_params[name] for name in _REQUEST_FIELDS if name in request.query_params}
        return refused(asked) or HTMLResponse(sign_in_page(people, asked))

    @app.post("/authorize")
    async def choose_person(request: Request) -> Response:
        form = await request.form()
        asked = {name: str(form[name]) for name in _REQUEST_FIELDS if name in form}
        if problem := refused(asked):
            return problem
        chosen = by_name.get(str(form.get("who")))
        return _back(asked, code=codes.issue(chosen, asked)) if chosen else _back(asked, error="access_denied")


def _back(asked: dict[str, str], **answer: str) -> Response:
    if state := asked.get("state"):
        answer["state"] = state
    return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)


def _token(app: FastAPI, issuer: Issuer, client: Client, codes: _Codes) -> None:
    @app.post("/token")
    async def token(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        given = _basic(request) or (form.get("client_id", ""), form.get("client_secret", ""))
        if not _same(given[0], client.client_id) or not _same(given[1], client.client_secret):
            return JSONResponse({"error": "invalid_client"}, 401)
        if form.get("grant_type") != "authorization_code":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        found = codes.redeem(form.get("code", ""))
        if not found or found.asked["redirect_uri"] != form.get("redirect_uri"):
            return JSONResponse({"error": "invalid_grant"}, 400)
        if not _proves(form.get("code_verifier", ""), found.asked):
            return JSONResponse({"error": "invalid_grant"}, 400)
        nonce = found.asked.get("nonce")
        answer = {
            "access_token": issuer.access_token(found.person, client_id=client.client_id),
            "token_type": "Bearer",
            "expires_in": ACCESS_SECONDS,
            "scope": found.asked["scope"],
            "id_token": issuer.id_token(found.person, client_id=client.client_id, nonce=nonce),
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _basic(request: Request) -> tuple[str, str] | None:
    kind, _, encoded = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(encoded).decode().partition(":")
    except ValueError:
        return None
    return name, password


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())


def _proves(verifier: str, asked: dict[str, str]) -> bool:
    digest = hashlib.sha256(verifier.encode()).digest()
    return _same(base64.urlsafe_b64encode(digest).decode().rstrip("="), asked["code_challenge"])


def _end_session(app: FastAPI, client: Client) -> None:
    @app.get("/end_session")
    async def end_session(post_logout_redirect_uri: str = "", state: str = "") -> Response:
        """Return to the client; the issuer has no sessions to end."""
        if post_logout_redirect_uri in client.signed_out_uris:
            return RedirectResponse(
                f"{post_logout_redirect_uri}{'?' + urlencode({'state': state}) if state else ''}", 303
            )
        return HTMLResponse(message_page("Signed out", "You are signed out."))
