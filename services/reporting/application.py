"""The parts that the API and the page share; ``main.py`` builds them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request

from services.reporting.commands import Commands
from services.reporting.domain.caller import Caller
from services.reporting.live_changes import LiveChanges
from services.reporting.queries.accounts import AccountQueries
from services.reporting.queries.catalogue import CatalogueQueries
from services.reporting.queries.page_context import PageContexts
from services.reporting.queries.records import RecordQueries
from services.reporting.queries.subscriptions import SubscriptionQueries
from services.reporting.queries.vendor_operators import VendorOperators
from shared.runtime.http.caller_limits import RateLimit, Shares


@dataclass(slots=True)
class Application:
    """Queries, commands and limits of one process.

    ``session`` is set by the page: it finds the person of a request's session, without renewing it. ``streams`` limits
    the live streams of API and page together; ``failures`` the failed sign-ins and tokens of an address.
    """

    queries: SubscriptionQueries
    page_contexts: PageContexts
    accounts: AccountQueries
    catalogue: CatalogueQueries
    records: RecordQueries
    commands: Commands
    live: LiveChanges
    clock: Callable[[], datetime]
    vendor_operators: VendorOperators
    streams: Shares
    failures: RateLimit
    session: Callable[[Request], Awaitable[Caller | None]] | None = None

    def count_failure(self, address: str | None) -> None:
        """Count a failed sign-in or token of an address (``None``: unknown).

        Raises:
            ProblemError: ``too_many_requests``: the address had too many failures before this one. It replaces the
                answer to the failure; successful sign-ins are never refused.
        """
        where = address or "unknown"
        self.failures.check(where, "Too many sign-ins from this address failed. Try again later.")
        self.failures.spend(where)
