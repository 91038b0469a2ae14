"""Exports as people see them: they request, list, cancel and download their own."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.reporting.domain.caller import Caller
from services.reporting.domain.exports import (
    KEPT_MAX,
    SAME_WITHIN,
    UNFINISHED_MAX,
    VENDOR,
    Export,
    ExportId,
    NewExport,
)
from services.reporting.domain.reports.definitions import Format, Report
from services.reporting.exports.audit import EXPORT, Origin, audit_record
from services.reporting.exports.parameters import sealed
from services.reporting.queries.access import not_found
from services.reporting.queries.report_sources.scope import check_access
from services.reporting.store import exports as store
from services.reporting.store import subscriptions
from services.reporting.store.paging import Page
from shared.events.ids import AccountId
from shared.events.state import PersonState
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Connection, Pool
from shared.runtime.signing import Keys

_WHAT: Final = "export"


class LimitReachedError(Exception):
    """An account has as many exports as it may; the message is for a person."""

    def __init__(self, message: str, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Wanted:
    """A report as somebody requests it, with valid parameters.

    ``given_as_of``: the instant that they named, if they did; ``as_of``: the one that counts.
    """

    report: Report
    format: Format
    parameters: Mapping[str, str]
    given_as_of: datetime | None
    as_of: datetime

    @property
    def digest(self) -> bytes:
        """The hash of the request: equal requests have equal ones."""
        given = None if self.given_as_of is None else self.given_as_of.isoformat()
        parts = self.report.id, self.format, sorted(self.parameters.items()), given
        return hashlib.sha256(json.dumps(parts).encode()).digest()


class ExportJobs:
    """The queue of exports, as requests see it."""

    def __init__(
        self,
        pool: Pool,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        *,
        clock: Callable[[], datetime],
        keys: Keys,
    ) -> None:
        self._pool = pool
        self._transaction = transaction
        self._clock = clock
        self._keys = keys

    async def request(self, caller: Caller, person: PersonState, wanted: Wanted, export: ExportId) -> Export:
        """Queue an export with this id, and audit it.

        The same id, and an equal request of the last ``SAME_WITHIN``, return the export that is there.

        Raises:
            ProblemError: ``forbidden``, ``not_found``: they may not make it, which is audited;
                ``idempotency_key_reused``.
            LimitReachedError: the account has as many as it may.
        """
        new = await self._check(caller, person, wanted, export)
        async with self._transaction() as tx:
            await store.lock_account(tx.connection, new.account)
            if known := await _find_known(tx, new):
                return known
            await _require_room(tx.connection, new.account)
            await store.insert_export(tx.connection, new)
            await tx.audit(audit_record(EXPORT, new, Origin.of(caller), tx.now))
            queued = await store.find_export(tx.connection, export, tx.now)
        assert queued is not None  # noqa: S101  # it was inserted
        return queued

    async def list_own(self, caller: Caller, limit: int, cursor: str | None, report: str | None) -> Page[Export]:
        """List the caller's exports, newest first."""
        async with self._pool.acquire() as connection:
            return await store.list_exports_of(
                connection, caller.email, limit, cursor, now=self._clock(), report=report
            )

    async def find_own(self, caller: Caller, export: str) -> Export:
        """Find an export of the caller.

        Raises:
            ProblemError: ``not_found``: there is none, or it is another person's.
        """
        async with self._pool.acquire() as connection:
            found = await store.find_export_of(connection, export, caller.email, self._clock())
        if found is None:
            raise not_found(_WHAT)
        return found

    async def end(self, caller: Caller, export: str) -> Export:
        """Cancel an export of the caller; if it has succeeded, expire it.

        Another one stays as it is.

        Raises:
            ProblemError: ``not_found``.
        """
        own = await self.find_own(caller, export)
        now = self._clock()
        async with self._pool.acquire() as connection, connection.transaction():
            if not await store.cancel_export(connection, own.id, now):
                await store.expire_export(connection, own.id, now)
        return await self.find_own(caller, export)

    async def _check(self, caller: Caller, person: PersonState, wanted: Wanted, export: ExportId) -> NewExport:
        """Check the caller's right, and return the export to queue."""
        async with self._pool.acquire() as connection:
            covers = await _covered_account(connection, wanted.parameters)
            new = NewExport(
                id=export,
                requested_by=person.id,
                account=VENDOR if caller.vendor else covers or person.account or person.id,
                covers=covers,
                is_vendor=caller.vendor,
                report=wanted.report.id,
                format=wanted.format,
                parameters=sealed(wanted.parameters, self._keys),
                digest=wanted.digest,
                as_of=wanted.as_of,
                names_people=wanted.report.names_people,
                requested_at=self._clock(),
            )
            try:
                await check_access(connection, caller, wanted.report, wanted.parameters)
            except ProblemError as error:
                refused = error
            else:
                return new
        async with self._transaction() as tx:
            # In the log of their own account: they may not see the one that they named.
            await tx.audit(
                audit_record(
                    EXPORT, replace(new, covers=person.account), Origin.of(caller), tx.now, refused.refusal.code
                )
            )
        raise refused


async def _find_known(tx: Transaction, new: NewExport) -> Export | None:
    known = await store.find_export(tx.connection, new.id, tx.now)
    if known is None:
        return await store.find_same(tx.connection, new.requested_by, new.digest, tx.now - SAME_WITHIN)
    if known.digest != new.digest:
        message = "This Idempotency-Key was used for another request; use a new one."
        raise ProblemError.of("idempotency_key_reused", message)
    return known


async def _covered_account(connection: Connection, parameters: Mapping[str, str]) -> AccountId | None:
    if (account := parameters.get("account")) is not None:
        return AccountId(account)
    if (chosen := parameters.get("subscription")) is None:
        return None
    state = await subscriptions.find_subscription(connection, chosen)
    return None if state is None else state.account


async def _require_room(connection: Connection, account: str) -> None:
    counts = await store.count_exports(connection, account)
    whose = "The vendor has" if account == VENDOR else "Your account has"
    if counts.unfinished >= UNFINISHED_MAX:
        raise LimitReachedError(
            f"{whose} {counts.unfinished} exports that are not finished, and may have {UNFINISHED_MAX}. "
            "Wait until one is finished, or cancel one.",
            UNFINISHED_MAX,
        )
    if counts.kept >= KEPT_MAX:
        raise LimitReachedError(
            f"{whose} {counts.kept} exports whose files are kept, and may have {KEPT_MAX}. "
            "Delete some, or wait until they expire.",
            KEPT_MAX,
        )
