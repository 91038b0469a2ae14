"""Who may make a report, and which rows they get."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain import permissions
from services.reporting.domain.caller import Caller
from services.reporting.domain.reports.definitions import Audience, ParameterName, Report
from services.reporting.queries.access import find_visible, find_visible_account, require_vendor
from services.reporting.queries.report_rows import ReportRequest
from services.reporting.store import subscriptions as store
from services.reporting.store.role_rows import find_held
from services.reporting.store.subscription_batches import Scope
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Connection

_VENDOR = "Only the vendor may make this report."
_NOWHERE = "Your roles do not show what this report contains."


async def check_access(connection: Connection, caller: Caller, report: Report, parameters: Mapping[str, str]) -> None:
    """Check that the caller may make a report with these parameters.

    They may who may read what it contains: of the subscription or account that is given, else of any.

    Raises:
        ProblemError: ``forbidden``; ``not_found`` for a subscription or an account that they may not see.
    """
    if report.audience == "vendor":
        require_vendor(caller, _VENDOR)
        return
    subscription, account = parameters.get("subscription"), parameters.get("account")
    if subscription is not None:
        await find_visible(connection, caller, subscription, report.audience)
    if account is not None and not (caller.vendor and account == permissions.VENDOR):  # the vendor's own chain
        await find_visible_account(connection, caller, account, report.audience)
    if (
        subscription is None
        and account is None
        and not may_make(caller, report.audience, await _held(connection, caller))
    ):
        raise ProblemError.of("forbidden", _NOWHERE)


def may_make(caller: Caller, audience: Audience, held: Collection[str]) -> bool:
    """Whether a caller with these roles may make such reports somewhere."""
    if caller.vendor or audience == "vendor":
        return caller.vendor
    return any(role in permissions.roles_with(audience) for role in held)


async def _held(connection: Connection, caller: Caller) -> set[str]:
    return set() if caller.vendor else await find_held(connection, caller.email)


async def load_scope(connection: Connection, request: ReportRequest) -> Scope:
    """Load which subscriptions a request's rows are of, as far as the caller sees."""
    chosen, account = request.parameters.get("subscription"), request.parameters.get("account")
    if request.caller.vendor:
        return Scope(None if chosen is None else [chosen], account)
    seeing = permissions.roles_with(request.report.audience)
    mine = set(await store.find_ids_by_role(connection, request.caller.email, seeing))
    return Scope(sorted(mine if chosen is None else mine & {chosen}), account)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The parameters of a request that choose rows; ``None``: no restriction."""

    product: str | None
    meter: str | None
    start: datetime | None
    end: datetime | None
    action: str | None
    actor: str | None
    outcome: str | None
    reason: str | None

    @classmethod
    def of(cls, request: ReportRequest) -> "Wanted":
        """Read the parameters of a request."""

        def text(name: ParameterName) -> str | None:
            return request.parameters.get(name)

        def at(name: ParameterName) -> datetime | None:
            given = request.parameters.get(name)
            return None if given is None else datetime.fromisoformat(given)

        return cls(
            product=text("product"),
            meter=text("meter"),
            start=at("from"),
            end=at("to"),
            action=text("action"),
            actor=text("actor"),
            outcome=text("outcome"),
            reason=text("reason"),
        )
