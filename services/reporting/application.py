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
from services.reporting.queries.records import RecordQueries
from services.reporting.queries.subscriptions import Queries


@dataclass(slots=True)
class Application:
    """``session`` is set by the page: who the request's session belongs to, ``None`` without one."""

    queries: Queries
    accounts: AccountQueries
    catalogue: CatalogueQueries
    records: RecordQueries
    commands: Commands
    live: Live
    clock: Callable[[], datetime]
    session: Callable[[Request], Awaitable[Caller | None]] | None = None
