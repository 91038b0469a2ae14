"""What became of usage: the quarantine, replays of it, and the books. The vendor's."""

from dataclasses import asdict

from services.reporting.domain.caller import Caller
from services.reporting.queries.access import Body, is_id, not_found, vendor_only
from services.reporting.store import quarantine, reconciliation
from services.reporting.store.paging import Page
from services.reporting.store.quarantine import Filter, Kept
from services.reporting.store.reconciliation import Wanted
from shared.runtime.postgres.pool import Pool

_VENDOR = "Only the vendor sees what became of usage."


class UsageBookQueries:
    """Reads of what metering told."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def quarantine(self, caller: Caller, limit: int, cursor: str | None, wanted: Filter) -> Page[Body]:
        """Quarantined records, the newest first."""
        vendor_only(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            page = await quarantine.list_records(connection, limit, cursor, wanted)
        return Page([_shown(one) for one in page.items], page.next_cursor)

    async def quarantined(self, caller: Caller, record: str) -> Body:
        """One quarantined record."""
        vendor_only(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            found = await quarantine.find_record(connection, record)
        if found is None:
            raise not_found("record in quarantine")
        return _shown(found)

    async def counts(self, caller: Caller, limit: int, cursor: str | None, wanted: Filter) -> Page[Body]:
        """How many records per day, product, source and reason."""
        vendor_only(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            page = await quarantine.count_records(connection, limit, cursor, wanted)
        return Page([asdict(one) for one in page.items], page.next_cursor)

    async def replays(self, caller: Caller, limit: int, cursor: str | None) -> Page[Body]:
        """Replays, the newest first."""
        vendor_only(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            page = await quarantine.list_replays(connection, limit, cursor)
        return Page([one.model_dump() for one in page.items], page.next_cursor)

    async def replay(self, caller: Caller, replay: str) -> Body:
        """A replay, and how far it is."""
        vendor_only(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            found = await quarantine.find_replay(connection, replay) if is_id(replay) else None
        if found is None:
            raise not_found("replay")
        return found.model_dump()

    async def reconciliation(self, caller: Caller, limit: int, cursor: str | None, wanted: Wanted) -> Body:
        """The books' lines with their check, and the sums over all that are wanted."""
        vendor_only(caller, _VENDOR)
        async with self._pool.acquire() as connection:
            page = await reconciliation.list_lines(connection, limit, cursor, wanted)
            totals = await reconciliation.total(connection, wanted)
        return {
            "items": [_balanced(line.model_dump()) for line in page.items],
            "next_cursor": page.next_cursor,
            "totals": _balanced(totals),
        }


def _shown(one: Kept) -> Body:
    return {**one.record.model_dump(), "settled_at": one.settled_at, "settled_as": one.settled_as}


def _balanced(figures: Body) -> Body:
    parts = figures["applied"] + figures["duplicate"] + figures["quarantined"]
    return {**figures, "balanced": figures["accepted"] == parts}
