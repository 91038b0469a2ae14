"""Routes of the page: subscription, plan, alerts, live stream, and static files."""

from collections.abc import Mapping
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from services.reporting.domain.me import Me
from services.reporting.domain.permissions import VIEW
from services.reporting.pages.errors import page_route
from services.reporting.pages.fragments import digest, render_fragments, render_plan_fragments, with_token
from services.reporting.pages.responder import PageResponder, SignedIn
from services.reporting.pages.stream import stream_fragments
from services.reporting.pages.subscription import present_subscription
from services.reporting.pages.subscription_page import PlanForm, SubscriptionPage
from services.reporting.pages.usage import SHOWN, present_usage
from services.reporting.pages.view import SubscriptionView
from shared.runtime.http.middleware import ProblemError

MOST_CHOICES = 100
MOST_NAMED = 5
_ROLES = {
    "vendor": "Vendor",
    "primary": "Primary contact",
    "allocator": "Allocator",
    "viewer": "Viewer",
    "auditor": "Auditor",
    "useradmin": "User administrator",
}


def page_router(responder: PageResponder) -> APIRouter:
    """``/`` and ``/subscriptions/...``."""
    router = APIRouter(include_in_schema=False, route_class=page_route(responder))
    _add_reads(router, responder)
    _add_writes(router, responder)
    return router


def _add_reads(router: APIRouter, responder: PageResponder) -> None:
    @router.get("/")
    async def home(request: Request) -> Response:
        who = await responder.signed_in(request)
        if who is None:
            return responder.sign_in_page(request)
        mine = await responder.application.queries.me(who.caller)
        seen = [one for one in mine.subscriptions if VIEW in one.permissions]
        if not seen:
            return _no_subscription(responder, who, [one.name for one in mine.subscriptions])
        if len(seen) == 1:
            return await _show(responder, who, seen[0].id, mine)
        choices = [replace(one, role=_ROLES.get(one.role, one.role)) for one in seen[:MOST_CHOICES]]
        return responder.page("choose.html", who, choices=choices)

    @router.get("/subscriptions/{subscription}")
    async def show(request: Request, subscription: str) -> Response:
        who = await responder.signed_in(request)
        return await _show(responder, who, subscription) if who else responder.sign_in_page(request)

    @router.get("/subscriptions/{subscription}/live")
    async def live(request: Request, subscription: str, since: str = "") -> Response:
        who = await responder.signed_in(request, renew=False)
        if who is None:
            return Response(status_code=204)
        return await stream_fragments(responder, who, subscription, since)

    @router.get("/subscriptions/{subscription}/usage")
    async def usage(request: Request, subscription: str) -> Response:
        who = await responder.signed_in(request)
        if who is None:
            return responder.sign_in_page(request)
        now = responder.clock()
        context = await responder.application.page_contexts.usage(who.caller, subscription, now - SHOWN, now)
        shown = present_usage(context.overview, context.items)
        if _is_partial(request):
            return responder.page("usage.html", who, usage=shown, partial=True)
        name = context.overview.name
        return responder.page("usage_page.html", who, usage=shown, partial=False, name=name, id=subscription)

    @router.get("/static/{name:path}")
    async def static(request: Request, name: str) -> Response:
        return responder.assets.answer(request, name)


def _add_writes(router: APIRouter, responder: PageResponder) -> None:
    @router.post("/subscriptions/{subscription}/plan")
    async def submit_plan(request: Request, subscription: str) -> Response:
        who, form = await _read_form(responder, request)
        if who is None:
            return responder.sign_in_page(request)
        sent = PlanForm.read(form)
        view = await SubscriptionPage(responder, who, subscription).submit(sent)
        if _is_partial(request):
            return responder.page(
                "plan.html", who, view=view, fragments=render_plan_fragments(responder.templates, view.plan)
            )
        if view.plan.applied:
            return responder.redirect(f"/subscriptions/{subscription}#plan")
        return _subscription_page(responder, who, view)

    @router.post("/subscriptions/{subscription}/alerts/{alert}/acknowledge")
    async def acknowledge(request: Request, subscription: str, alert: str) -> Response:
        who, _ = await _read_form(responder, request)
        if who is None:
            return responder.sign_in_page(request)
        page = SubscriptionPage(responder, who, subscription)
        error = await page.acknowledge(alert)
        if not _is_partial(request) and error is None:
            return responder.redirect(f"/subscriptions/{subscription}")
        view = await page.view()
        if _is_partial(request):
            return responder.page("alerts.html", who, view=view, alert_error=error)
        return _subscription_page(responder, who, view, error)


async def _read_form(responder: PageResponder, request: Request) -> tuple[SignedIn | None, Mapping[str, object]]:
    """Return the signed-in person and the form that they sent.

    Raises:
        ProblemError: the form did not come from a page of this session.
    """
    who = await responder.signed_in(request)
    form = dict(await request.form())
    if who and not responder.csrf.is_form_token(str(form.get("csrf", "")), who.session):
        raise ProblemError.of("forbidden", "This form belongs to another session. Reload the page.")
    return who, form


def _is_partial(request: Request) -> bool:
    return "hx-request" in request.headers


async def _show(responder: PageResponder, who: SignedIn, subscription: str, me: Me | None = None) -> Response:
    context = await SubscriptionPage(responder, who, subscription).context(me)
    if context.overview.model != "flex":
        return _does_not_apply(responder, who, context.overview.name)
    return _subscription_page(responder, who, present_subscription(context))


def _subscription_page(
    responder: PageResponder, who: SignedIn, view: SubscriptionView, alert_error: str | None = None
) -> Response:
    fragments = render_fragments(responder.templates, view)
    since, token = digest(fragments), responder.csrf.form_token(who.session)
    written = {element: with_token(html, token) for element, html in fragments.items()}
    return responder.page("subscription.html", who, view=view, since=since, fragments=written, alert_error=alert_error)


def _does_not_apply(responder: PageResponder, who: SignedIn, name: str) -> Response:
    sentences = [
        f"{name} is licensed per product: each product has its own licence, and there is no pool of units to allocate.",
        "Your vendor can convert it to a flexible subscription; then its units appear here.",
    ]
    return responder.page(
        "message.html", who, title="This page does not apply", paragraphs=sentences, link=None, reference=None
    )


def _no_subscription(responder: PageResponder, who: SignedIn, administered: list[str]) -> Response:
    """Answer that the person sees no units.

    ``administered``: subscriptions whose people they manage.
    """
    if administered:
        sentences = [
            f"You administer the people and roles of {', '.join(administered[:MOST_NAMED])}.",
            "Its units are seen by the primary contact and those to whom the primary contact gives access.",
        ]
        return responder.page(
            "message.html", who, title="People and roles", paragraphs=sentences, link=None, reference=None
        )
    sentences = [
        f"You are signed in as {who.person.email}, and no subscription is shared with this address.",
        "A subscription is seen by its primary contact, and by those to whom the primary contact gives access.",
    ]
    return responder.page("message.html", who, 404, title="Not found", paragraphs=sentences, link=None, reference=None)
