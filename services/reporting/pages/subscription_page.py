"""The page of one subscription for one person: reads, plans, acknowledgements."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from pydantic import ValidationError

from services.reporting.commands import Answer
from services.reporting.domain.me import Me
from services.reporting.domain.overview import Overview
from services.reporting.domain.previews import read_preview
from services.reporting.pages import plan
from services.reporting.pages.plan import Draft
from services.reporting.pages.responder import PageResponder, SignedIn
from services.reporting.pages.subscription import present_subscription
from services.reporting.pages.view import SubscriptionView
from services.reporting.queries.page_context import PageContext
from shared.events.commands.alerts import AcknowledgeAlert
from shared.runtime.http.middleware import ProblemError

_WAITING = (
    "No answer has arrived yet. The change may still be carried out: reload in a moment, and do not send it twice."
)
_CHANGED = "The plan is not the one that was previewed. This is what it would do now."


@dataclass(frozen=True, slots=True)
class PlanForm:
    """The plan editor's form fields, parsed from a request.

    ``version``: the subscription's when the page was loaded. ``command``: id of the command that applies the plan.
    ``previewed``: the plan that was previewed, as by ``encode_plan``. ``applies``: apply it, instead of a preview.
    """

    draft: Draft
    version: int | None
    command: UUID | None
    previewed: str | None
    applies: bool

    @classmethod
    def read(cls, form: Mapping[str, object]) -> "PlanForm":
        """Parse the form's fields; one that cannot be parsed counts as absent."""
        values = {name.removeprefix("units."): str(value) for name, value in form.items() if name.startswith("units.")}
        draft = Draft(values=values, accept_overage=form.get("accept_overage") == "yes")
        draft = replace(draft, offer_overage=draft.accept_overage)
        previewed = form.get("previewed")
        return cls(
            draft,
            plan.parse(str(form.get("version", ""))),
            _uuid(str(form.get("command", ""))),
            str(previewed) if previewed is not None else None,
            form.get("intent") == "apply",
        )


class SubscriptionPage:
    """Load and change one subscription on behalf of one signed-in person."""

    def __init__(self, responder: PageResponder, who: SignedIn, subscription: str) -> None:
        self._site = responder
        self._who = who
        self._subscription = subscription

    async def context(self, me: Me | None = None) -> PageContext:
        """Load all that the page shows, in one read.

        ``me``: the person, if this request has loaded them already.

        Raises:
            ProblemError: ``not_found``, ``forbidden``.
        """
        return await self._site.application.page_contexts.page(self._who.caller, self._subscription, me)

    async def view(self) -> SubscriptionView:
        """Load the subscription and return the page's view model of it."""
        return present_subscription(await self.context())

    async def acknowledge(self, alert: str) -> str | None:
        """Acknowledge an alert. Return a sentence if it was refused or is undecided."""
        await self._site.application.queries.subscription(self._who.caller, self._subscription)
        try:
            payload = AcknowledgeAlert.model_validate({"subscription": self._subscription, "alert": alert})
        except ValidationError as error:
            raise ProblemError.of("not_found", "There is no such alert.") from error
        answer = await self._site.application.commands.submit(payload, self._who.caller)
        if answer.refusal:
            return answer.refusal.message
        return None if answer.decided else _WAITING

    async def submit(self, form: PlanForm) -> SubscriptionView:
        """Preview or apply the plan of the form, and return the view with the outcome.

        A plan is applied only when it equals the one that was previewed; otherwise it is previewed again.
        """
        context = await self.context()
        changed, unreadable = plan.changes(context.overview, form.draft)
        if unreadable:
            return present_subscription(context, replace(form.draft, errors=unreadable))
        if not changed:
            return present_subscription(context, replace(form.draft, error="The plan changes no allocation."))
        as_previewed = form.previewed == plan.encode_plan(changed)
        if form.applies and as_previewed:
            return await self._apply(form, changed)
        note = _CHANGED if form.applies else None
        return await self._preview(form, changed, context, note)

    async def _preview(
        self, form: PlanForm, changed: dict[str, int], context: PageContext, note: str | None
    ) -> SubscriptionView:
        answer = await self._submit(form, changed, preview=True)
        if answer is None or answer.refusal or answer.result is None:
            return present_subscription(context, _refused(form.draft, answer, context.overview))
        view = present_subscription(context, replace(form.draft, error=note))
        shown = plan.present_preview(context.overview, read_preview(answer.result), changed, str(uuid4()))
        return replace(view, plan=replace(view.plan, preview=shown))

    async def _apply(self, form: PlanForm, changed: dict[str, int]) -> SubscriptionView:
        """Apply the plan, and return the view that is loaded after its decision."""
        answer = await self._submit(form, changed, preview=False)
        context = await self.context()
        if answer is None or not answer.accepted:
            return present_subscription(context, _refused(form.draft, answer, context.overview))
        view = present_subscription(context)
        return replace(view, plan=replace(view.plan, applied="The plan is applied; these are the new allocations."))

    async def _submit(self, form: PlanForm, changed: dict[str, int], *, preview: bool) -> Answer | None:
        """Send the plan's command; ``None`` if its id was used before for another plan."""
        try:
            return await self._site.application.commands.plan(
                self._who.caller,
                self._subscription,
                changed,
                command_id=None if preview else form.command,
                preview=preview,
                accept_overage=form.draft.accept_overage,
                expected_version=form.version,
            )
        except ProblemError as problem:
            if problem.refusal.code != "idempotency_key_reused":
                raise
            return None


def _refused(draft: Draft, answer: Answer | None, overview: Overview) -> Draft:
    if answer is not None and answer.refusal:
        current = {product.product: product.allocated for product in overview.products}
        return draft.refused(answer.refusal, current)
    return replace(draft, error=_WAITING if answer is not None else _CHANGED)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
