"""Outcomes of usage, for the vendor: the quarantine, its replays, and the books."""

from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.caller import Caller
from services.reporting.queries.access import is_id, not_found, require_vendor
from services.reporting.queries.shown_people import show_people
from services.reporting.store import quarantine, reconciliation
from services.reporting.store.paging import Page
from services.reporting.store.quarantine import Count, Filter, StoredRecord
from services.reporting.store.reconciliation import LineFilter, Totals
from shared.events.quarantine import BooksLine, QuarantinedRecord, QuarantineReplay
from shared.runtime.postgres.pool import Pool

_VENDOR = "Only the vendor sees what became of usage."


class Quarantined(QuarantinedRecord):
    """A quarantined record.

    ``settled_at`` and ``settled_as`` are ``None`` while it is in quarantine.
    """

    settled_at: datetime | None
    settled_as: str | None


class BalancedLine(BooksLine):
    """A line of the books. ``balanced``: accepted = applied + duplicate + quarantined."""

    balanced: bool


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A page of lines of the books, and the sums over all lines that match."""

    items: list[BalancedLine]
    next_cursor: str | None
    totals: Totals


class UsageBookQueries:
    """Reads of what metering published about usage."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def quarantine(self, caller: Caller, limit: int, cursor: str | None, wanted: Filter) -> Page[Quarantined]:
        """List quarantined records, newest first."""
        require_vendor(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            page = await quarantine.list_records(connection, limit, cursor, wanted)
        return Page([_shown(one) for one in page.items], page.next_cursor)

    async def quarantined(self, caller: Caller, record: str) -> Quarantined:
        """Find one quarantined record."""
        require_vendor(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            found = await quarantine.find_record(connection, record)
        if found is None:
            raise not_found("record in quarantine")
        return _shown(found)

    async def counts(self, caller: Caller, limit: int, cursor: str | None, wanted: Filter) -> Page[Count]:
        """Count records per day, product, source and reason."""
        require_vendor(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            return await quarantine.count_records(connection, limit, cursor, wanted)

    async def replays(self, caller: Caller, limit: int, cursor: str | None) -> Page[QuarantineReplay]:
        """List replays, newest first."""
        require_vendor(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            page = await quarantine.list_replays(connection, limit, cursor)
            return Page(await show_people(connection, page.items, "requested_by"), page.next_cursor)

    async def replay(self, caller: Caller, replay: str) -> QuarantineReplay:
        """Find a replay, with its progress."""
        require_vendor(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            found = await quarantine.find_replay(connection, replay) if is_id(replay) else None
            if found is None:
                raise not_found("replay")
            (shown,) = await show_people(connection, [found], "requested_by")
        return shown

    async def reconciliation(
        self, caller: Caller, limit: int, cursor: str | None, wanted: LineFilter
    ) -> Reconciliation:
        """List the lines of the books with their balance.

        The sums are over all lines that match.
        """
        require_vendor(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            page = await reconciliation.list_lines(connection, limit, cursor, wanted)
            totals = await reconciliation.total(connection, wanted)
        return Reconciliation([_balanced(line) for line in page.items], page.next_cursor, totals)


def _shown(one: StoredRecord) -> Quarantined:
    return Quarantined(**dict(one.record), settled_at=one.settled_at, settled_as=one.settled_as)


def _balanced(line: BooksLine) -> BalancedLine:
    parts = line.applied + line.duplicate + line.quarantined
    return BalancedLine(**dict(line), balanced=line.accepted == parts)
