"""What the API and the page both stand on; ``main.py`` builds one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request

from services.reporting.commands import Commands
from services.reporting.domain.caller import Caller
from services.reporting.live import Live
from services.reporting.queries.accounts import AccountQueries
from services.reporting.queries.catalogue import CatalogueQueries
from services.reporting.queries.issuer_words import IssuerWords
from services.reporting.queries.page_context import PageContexts
from services.reporting.queries.records import RecordQueries
from services.reporting.queries.subscriptions import Queries
from shared.runtime.http.caller_limits import RateLimit, Shares


@dataclass(slots=True)
class Application:
    """``session`` is set by the page: who the request's session belongs to, ``None`` without one; it is not renewed.

    ``streams`` are the live streams' places, of the API and the page together.
    """

    queries: Queries
    page_contexts: PageContexts
    accounts: AccountQueries
    catalogue: CatalogueQueries
    records: RecordQueries
    commands: Commands
    live: Live
    clock: Callable[[], datetime]
    words: IssuerWords
    streams: Shares
    failures: RateLimit
    session: Callable[[Request], Awaitable[Caller | None]] | None = None

    def check_failures(self, address: str | None) -> None:
        """Count a sign-in that failed, and say so where an address had too many.

        Raises:
            ProblemError: ``too_many_requests``. Who signs in well from there is never told so.
        """
        where = address or "unknown"
        self.failures.check(where, "Too many sign-ins from this address failed. Try again later.")
        self.failures.spend(where)
