"""The rows of the audit log: the chains of accounts, one after the other.

The file's last row says so. So a row is held back until another is found, or the end: the position names the row that
is held back, which is read again, and how far the chain was read.
"""

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from services.reporting.domain import permissions
from services.reporting.domain.reports.audit import ChainedRecord, audit_row
from services.reporting.domain.reports.columns import Row
from services.reporting.queries.people_visibility import load_people_visibility
from services.reporting.queries.report_rows import Position, ReportRequest, Step
from services.reporting.queries.report_sources.positions import read_position, write_position
from services.reporting.queries.report_sources.scope import Wanted
from services.reporting.queries.shown_people import ShownPeople, load_people
from services.reporting.store import audit
from services.reporting.store import subscriptions as store
from services.reporting.store.audit_chains import find_next_chain
from services.reporting.store.audit_rows import count_records, scan_chain
from shared.runtime.postgres.pool import Connection

_PERSON: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class _Visible:
    """What the caller may see: of which accounts (``None``: all), and without whom."""

    accounts: Sequence[str] | None
    wanted: audit.Filter
    hidden: AbstractSet[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Place:
    """How far the log was read: number ``number`` of the chain of ``account``.

    ``rows``: those that were returned; ``held``: the account and number of the row that is held back.
    """

    rows: int
    account: str
    number: int
    held: tuple[str, int] | None

    @classmethod
    def read(cls, position: Position | None) -> "_Place":
        rows, account, number, held_account, held_number = read_position(position, 0, "", 0, None, None)
        return cls(int(rows), account, int(number), (held_account, int(held_number)) if held_number else None)

    def write(self) -> Position:
        return write_position(self.rows, self.account, self.number, *(self.held or (None, None)))


class AuditSource:
    """Rows in the order of account and number."""

    def __init__(self, request: ReportRequest) -> None:
        self._request = request

    async def count(self, connection: Connection) -> int:
        """Count the records of the chains, also those that are not wanted."""
        return await count_records(connection, (await self._visible(connection)).accounts)

    async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
        """Read the next numbers of the chains, at most ``limit``."""
        place, visible = _Place.read(position), await self._visible(connection)
        found: list[ChainedRecord] = []
        if place.held is not None:
            found += await self._read_held(connection, place.held, visible)
        account: str | None = place.account or await _next_account(connection, visible, "")
        number, left = place.number, limit
        while account is not None and left > 0:
            scanned = await scan_chain(connection, (account, number), left, self._request.as_of, visible.wanted)
            found += [record for _, record in scanned if record is not None]
            if len(scanned) == left:
                place = replace(place, account=account, number=scanned[-1][0])
                break
            left, number, account = left - len(scanned), 0, await _next_account(connection, visible, account)
        else:
            place = replace(place, account=account or "", number=0)
        return await self._step(connection, place, found, visible, is_end=account is None)

    async def _read_held(self, connection: Connection, held: tuple[str, int], visible: _Visible) -> list[ChainedRecord]:
        """Read again the record that was held back."""
        account, number = held
        scanned = await scan_chain(connection, (account, number - 1), 1, self._request.as_of, visible.wanted)
        return [record for _, record in scanned if record is not None]

    async def _step(
        self, connection: Connection, place: _Place, found: list[ChainedRecord], visible: _Visible, *, is_end: bool
    ) -> Step:
        held = None if is_end or not found else found.pop()
        show = cache((await _load_people(connection, found)).show)
        rows: list[Row] = [
            audit_row(record, place.rows + count, show, visible.hidden, is_last=is_end and count == len(found))
            for count, record in enumerate(found, 1)
        ]
        if is_end:
            return Step(rows, None)
        place = replace(place, rows=place.rows + len(rows), held=None if held is None else (held.account, held.number))
        return Step(rows, place.write())

    async def _visible(self, connection: Connection) -> _Visible:
        """Load what the caller may see, as ``RecordQueries.audit`` does."""
        caller, parameters = self._request.caller, self._request.parameters
        chosen, only = parameters.get("subscription"), parameters.get("account")
        given = Wanted.of(self._request)
        wanted = audit.Filter(
            None if chosen is None else [chosen], given.start, given.end, given.action, given.actor, given.outcome
        )
        accounts = [only] if only is not None else None
        if chosen is not None:
            state = await store.find_subscription(connection, chosen)
            accounts = [] if state is None or only not in {None, state.account} else [state.account]
        if caller.vendor:
            return _Visible(accounts, wanted)
        auditing = permissions.roles_with(permissions.VIEW_AUDIT)
        mine = await store.find_ids_by_role(connection, caller.email, auditing)
        theirs = await store.find_accounts_by_role(connection, caller.email, auditing)
        accounts = theirs if accounts is None else [one for one in accounts if one in theirs]
        if chosen is not None:
            return _Visible(accounts, replace(wanted, subscriptions=[one for one in mine if one == chosen]))
        visibility = await load_people_visibility(connection, caller, theirs, permissions.VIEW_AUDIT)
        objects = sorted(f"account/{account}/person/{person}" for person, account in visibility.hidden.items())
        wanted = replace(wanted, subscriptions=mine, accounts=theirs, hidden_objects=objects)
        return _Visible(accounts, wanted, frozenset(visibility.hidden))


async def _next_account(connection: Connection, visible: _Visible, after: str) -> str | None:
    """Return the account whose chain follows; ``after`` ``""``: the first."""
    if visible.accounts is None:
        return await find_next_chain(connection, after)
    return min((one for one in visible.accounts if one > after), default=None)


async def _load_people(connection: Connection, records: Sequence[ChainedRecord]) -> ShownPeople:
    return await load_people(
        connection, {person for one in records for person in (one.actor, *_PERSON.findall(one.recorded))}
    )
