"""Downloads of files: by a person, or by a link that was signed for them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.reporting.domain.caller import Caller
from services.reporting.domain.exports import Export, ExportFile
from services.reporting.domain.reports.catalogue import REPORTS
from services.reporting.exports.audit import DOWNLOAD, Origin, audit_record
from services.reporting.exports.links import is_valid_link
from services.reporting.exports.parameters import opened
from services.reporting.exports.people import present_caller
from services.reporting.exports.storage.storage import MissingFileError, Storage, StorageError
from services.reporting.queries.access import not_found
from services.reporting.queries.report_sources.scope import check_access
from services.reporting.store import exports as store
from shared.events.refusals import Refusal
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.http.caller_limits import RateLimit
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Connection, Pool
from shared.runtime.signing import Keys

_NO_LINK: Final = "This link is not valid, or not any more. Request the export again for a new one, or send a token."
_NOT_THEIRS: Final = "This link is for another person."
_TOO_MANY: Final = "You have downloaded too much. Wait a moment, then try again."


@dataclass(frozen=True, slots=True)
class Link:
    """What a link consists of."""

    expires: int
    signature: str


@dataclass(frozen=True, slots=True)
class Download:
    """An export with its file, for who may have it."""

    export: Export
    file: ExportFile


class Downloads:
    """Opens the files of exports, for who may have them now."""

    def __init__(
        self,
        pool: Pool,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        storage: Storage,
        *,
        clock: Callable[[], datetime],
        keys: Keys,
        per_minute: int,
    ) -> None:
        self._pool = pool
        self._transaction = transaction
        self._storage = storage
        self._clock = clock
        self._keys = keys
        self._limit = RateLimit(per_minute)

    async def find(self, export: str, caller: Caller | None, link: Link | None, origin: Origin) -> Download:
        """Find an export with its file, and check the rights of who wants it.

        ``caller``: who sent a token, if somebody did; without a ``link`` they must have requested the export.
        ``origin``: where the request comes from, for the audit log.

        Raises:
            ProblemError: ``not_found``, also if there is no file; ``forbidden``; ``too_many_requests``.
        """
        now = self._clock()
        async with self._pool.acquire() as connection:
            found, who = await self._find(connection, export, caller, link, now)
            if found.state != "succeeded" or found.file is None:
                raise ProblemError.of("not_found", _no_file(found), state=found.state)
            self._limit.check(found.requested_by, _TOO_MANY)
            report = REPORTS.get(found.report)
            if report is None:
                raise not_found("report")
            try:
                await check_access(connection, who, report, opened(found.parameters, self._keys))
            except ProblemError as error:
                refused = error
            else:
                return Download(found, found.file)
        await self._audit(found, origin, refused.refusal.code)
        raise refused

    async def _find(
        self, connection: Connection, export: str, caller: Caller | None, link: Link | None, now: datetime
    ) -> tuple[Export, Caller]:
        if link is None:
            found = None if caller is None else await store.find_export_of(connection, export, caller.email, now)
            if found is None or caller is None:
                raise not_found("export")
            return found, caller
        found = await store.find_export(connection, export, now)
        if found is None or not is_valid_link(found, link.expires, link.signature, self._keys, now):
            raise ProblemError.of("forbidden", _NO_LINK)
        who = await present_caller(connection, found)
        if who is None:
            raise not_found("export")
        if caller is not None and caller.email != who.email:
            raise ProblemError.of("forbidden", _NOT_THEIRS)
        return found, who

    async def open(self, download: Download, origin: Origin, start: int, length: int) -> AsyncIterator[bytes]:
        """Open a part of the file, and audit the download.

        What is returned yields it in pieces.

        Raises:
            ProblemError: ``unavailable``: the storage does not answer; ``not_found``: the file is gone.
        """
        self._limit.spend(download.export.requested_by)
        try:
            pieces = await asyncio.to_thread(self._storage.read, download.file.key, start, length)
        except StorageError as error:
            message = "The place where exports are stored does not answer. Try again in a minute."
            raise ProblemError(Refusal(code="unavailable", message=message), headers={"Retry-After": "30"}) from error
        except MissingFileError as error:
            raise ProblemError.of("not_found", "The file of this export is gone. Export it again.") from error
        await self._audit(download.export, origin, None)
        return _in_threads(pieces)

    async def _audit(self, export: Export, origin: Origin, denied: str | None) -> None:
        async with self._transaction() as tx:
            await tx.audit(audit_record(DOWNLOAD, export, origin, tx.now, denied))


def _no_file(export: Export) -> str:
    match export.state:
        case "queued" | "running":
            return "This export has no file yet. Its state shows how far it is."
        case "expired":
            return "The file of this export was deleted. Export it again."
        case "cancelled":
            return "This export has no file: it was cancelled."
        case "failed" | "succeeded":
            return f"This export has no file: it failed. {export.failure or ''}".rstrip()


async def _in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(next, pieces, b"")) != b"":
        yield piece
