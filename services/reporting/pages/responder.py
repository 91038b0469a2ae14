"""The parts that all routes of the page share.

They are sessions, templates and message pages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from services.reporting.application import Application
from services.reporting.domain.caller import Caller
from services.reporting.pages.assets import Assets
from services.reporting.pages.csrf import CsrfProtection
from services.reporting.pages.provider import Provider
from services.reporting.sessions import LIFETIME, Person, Sessions
from shared.runtime.http.middleware import ProblemError

_MESSAGES: Mapping[int, tuple[str, str]] = {
    400: ("That did not work", "The request cannot be read."),
    403: ("Not allowed", "You are signed in, but you have no permission for this."),
    404: ("Not found", "This page does not exist, or you have no access to it."),
    503: ("One moment", "A part of the service is not answering. Nothing is lost; try again shortly."),
}


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The signed-in person of a request.

    ``session`` is the session's id, from the cookie.
    """

    person: Person
    session: str
    caller: Caller


class PageResponder:
    """Answers requests of the page.

    It finds the session, renders templates, and builds redirects and messages.
    """

    def __init__(
        self,
        *,
        application: Application,
        sessions: Sessions,
        provider: Provider,
        csrf: CsrfProtection,
        assets: Assets,
        public_url: str,
        issuer: str,
    ) -> None:
        self.application = application
        self.sessions = sessions
        self.provider = provider
        self.csrf = csrf
        self.assets = assets
        self.is_secure = public_url.startswith("https:")
        self.session_cookie = "__Host-unitpool_session" if self.is_secure else "unitpool_session"
        self.templates = _environment(assets.address)
        self._policy = _content_security_policy(issuer)

    @property
    def clock(self) -> Callable[[], datetime]:
        """The clock of the application."""
        return self.application.clock

    async def signed_in(self, request: Request, *, renew: bool = True) -> SignedIn | None:
        """Find the person of the request's session.

        ``renew``: a person acts, not the page on its own.
        """
        session = request.cookies.get(self.session_cookie)
        person = await self.sessions.find(session, self.clock(), renew=renew) if session else None
        if person is None or session is None:
            return None
        address = request.client.host if request.client else None
        correlation = getattr(request.state, "correlation_id", None)
        ends = person.ends_in_seconds
        caller = Caller(person.email, person.name, person.vendor, address, correlation, ends_in_seconds=ends)
        return SignedIn(person, session, caller)

    async def caller(self, request: Request) -> Caller | None:
        """Return the session's person, for the API's live streams."""
        found = await self.signed_in(request, renew=False)
        return found.caller if found else None

    def page(self, template: str, who: SignedIn | None, status: int = 200, **values: Any) -> HTMLResponse:
        """Render a template."""
        token = self.csrf.form_token(who.session) if who else ""
        html = self.templates.get_template(template).render(person=who.person if who else None, csrf=token, **values)
        return HTMLResponse(html, status, self._headers())

    def message(self, who: SignedIn | None, problem: ProblemError | int, reference: str | None = None) -> HTMLResponse:
        """Render a page about a refusal or an error.

        ``reference``: the correlation id to quote.
        """
        status = problem if isinstance(problem, int) else problem.status
        title, sentence = _MESSAGES.get(status, ("That did not work", "Something went wrong here, and was logged."))
        if isinstance(problem, ProblemError) and status not in _MESSAGES:
            sentence = problem.refusal.message
        link = ("/", "To your subscriptions") if who else ("/", "To the start page")
        return self.page(
            "message.html", who, status, title=title, paragraphs=[sentence], link=link, reference=reference
        )

    def sign_in_page(self, request: Request) -> HTMLResponse:
        """Render the start page, whose sign-in returns to the requested page."""
        path = request.url.path if request.method == "GET" else "/"
        target = f"/sign-in?to={path}" if path != "/" else "/sign-in"
        paragraphs = ["See what your subscription has purchased and consumed, and decide how its units are allocated."]
        answer = self.page(
            "message.html",
            None,
            200 if path == "/" else 401,
            title="Your pool of units",
            paragraphs=paragraphs,
            link=(target, "Sign in"),
            reference=None,
        )
        if "hx-request" in request.headers:
            answer.headers["HX-Refresh"] = "true"
        return answer

    def start_session(self, answer: Response, session: str) -> None:
        """Set the session's cookie."""
        answer.set_cookie(
            self.session_cookie,
            session,
            max_age=int(LIFETIME.total_seconds()),
            httponly=True,
            samesite="lax",
            secure=self.is_secure,
        )

    def end_session(self, answer: Response) -> None:
        """Delete the session's cookie.

        Browsers require the attributes with which it was set.
        """
        answer.delete_cookie(self.session_cookie, httponly=True, samesite="lax", secure=self.is_secure)

    def redirect(self, to: str) -> RedirectResponse:
        """Redirect to a path, with GET."""
        return RedirectResponse(to, 303, self._headers())

    def _headers(self) -> dict[str, str]:
        return {
            "Content-Security-Policy": self._policy,
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        }


def _environment(address: Callable[[str], str]) -> Environment:
    environment = Environment(
        loader=PackageLoader("services.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = address
    return environment


def _content_security_policy(issuer: str) -> str:
    """Allow own resources only, no inline script or style.

    A sign-out form may end at the issuer.
    """
    own = "'self'"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {own}",
            f"style-src {own}",
            f"img-src {own} data:",
            f"connect-src {own}",
            f"form-action {own} {issuer}",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )
