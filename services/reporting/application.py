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

    ``session`` is set by the page: the person of the request's session, without renewing it; ``None`` without a
    session. ``streams`` limits the live streams of API and page together.
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

    def check_failures(self, address: str | None) -> None:
        """Count a failed sign-in of an address.

        Raises:
            ProblemError: ``too_many_requests``, if the address had too many. Successful sign-ins are never refused.
        """
        where = address or "unknown"
        self.failures.check(where, "Too many sign-ins from this address failed. Try again later.")
        self.failures.spend(where)
