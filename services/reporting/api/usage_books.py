"""Outcomes of usage: the quarantine, its replays, and the reconciliation.

Vendor only.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from services.reporting.api.answers import usage_books as answers
from services.reporting.api.fields import At, Cursor, Limit, check_order, invalid
from services.reporting.api.requests.usage_books import NewReplay
from services.reporting.api.routing import ApiContext, CommandId, CurrentCaller, derive_id, new_router, write_answers
from services.reporting.queries.usage_books import UsageBookQueries
from services.reporting.store.quarantine import Filter
from services.reporting.store.reconciliation import LineFilter
from shared.events.commands.metering import ReplayQuarantine
from shared.events.envelope import Day as Date
from shared.events.quarantine import QuarantineReason

Claimed = Annotated[str | None, Query(min_length=1, max_length=200)]
Day = Annotated[At | Date | None, Query(description="A day, or an instant of it (UTC)")]
Lines = Annotated[int, Query(ge=1, le=5000, description="Most lines in one answer")]


def usage_books_router(context: ApiContext, books: UsageBookQueries) -> APIRouter:
    """``/v1/usage/quarantine``, ``/v1/usage/reconciliation``."""
    router = new_router("usage", "/usage")
    _add_reconciliation(router, books)
    _add_counts(router, books)
    _add_replays(router, context, books)
    _add_quarantine(router, books)
    return router


def _printable(**texts: str | None) -> None:
    for name, text in texts.items():
        if text is not None and not text.isprintable():
            raise invalid(name, "must be printable text")


async def _filter(  # noqa: PLR0917  # FastAPI gives them by name
    reason: QuarantineReason | None = None,
    source: Claimed = None,
    product: Claimed = None,
    subscription: Claimed = None,
    start: Annotated[At | None, Query(alias="from")] = None,
    end: Annotated[At | None, Query(alias="to")] = None,
    settled: bool | None = None,
) -> Filter:
    check_order(start, end)
    _printable(source=source, product=product, subscription=subscription)
    return Filter(reason, source, product, subscription, start, end, settled)


QuarantineFilter = Annotated[Filter, Depends(_filter)]


def _add_quarantine(router: APIRouter, books: UsageBookQueries) -> None:
    @router.get("/quarantine", response_model=answers.Quarantine)
    async def several(caller: CurrentCaller, wanted: QuarantineFilter, limit: Limit = 50, cursor: Cursor = None) -> Any:
        """List usage that was not applied, with its reason, newest first.

        ``settled=false``: only what is still in quarantine.
        """
        return await books.quarantine(caller, limit, cursor, wanted)

    @router.get("/quarantine/{record}", response_model=answers.Quarantined)
    async def one(caller: CurrentCaller, record: str) -> Any:
        """Return one record in quarantine."""
        return await books.quarantined(caller, record)


def _add_counts(router: APIRouter, books: UsageBookQueries) -> None:
    @router.get("/quarantine/counts", response_model=answers.QuarantineCounts)
    async def counts(caller: CurrentCaller, wanted: QuarantineFilter, limit: Limit = 200, cursor: Cursor = None) -> Any:
        """Count records per day of arrival, product, source and reason, newest day first."""
        return await books.counts(caller, limit, cursor, wanted)


def _add_replays(router: APIRouter, context: ApiContext, books: UsageBookQueries) -> None:
    @router.get("/quarantine/replays", response_model=answers.Replays)
    async def several(caller: CurrentCaller, limit: Limit = 50, cursor: Cursor = None) -> Any:
        """List replays with their progress, newest first."""
        return await books.replays(caller, limit, cursor)

    @router.get("/quarantine/replays/{replay}", response_model=answers.Replay)
    async def one(caller: CurrentCaller, replay: str) -> Any:
        """Return a replay with its progress."""
        return await books.replay(caller, replay)

    @router.post("/quarantine/replay", **write_answers(answers.Replay))
    async def replay(caller: CurrentCaller, body: NewReplay, command: CommandId) -> Response:
        """Apply quarantined usage again after a repair. Nothing is counted twice.

        The answer is sent once the replay is stored; `/v1/usage/quarantine/replays/{id}` shows its progress.
        """
        chosen = derive_id(caller, command)
        payload = ReplayQuarantine(replay=chosen, wanted=body.wanted())
        return await context.write(
            payload, caller, command, lambda: answers.Replay.of(books.replay(caller, chosen)), key=chosen
        )


def _add_reconciliation(router: APIRouter, books: UsageBookQueries) -> None:
    @router.get("/reconciliation", response_model=answers.Reconciliation)
    async def reconciliation(
        caller: CurrentCaller,
        *,
        start: Annotated[Day, Query(alias="from")] = None,
        end: Annotated[Day, Query(alias="to")] = None,
        product: Claimed = None,
        source: Claimed = None,
        limit: Lines = 1000,
        cursor: Cursor = None,
    ) -> Any:
        """List the books per source, product and UTC day of arrival.

        The check is accepted = applied + duplicate + quarantined. ``to`` is included if it is a day, and excluded if it
        is an instant.
        """
        _printable(product=product, source=source)
        last = (end - timedelta(microseconds=1)).date() if isinstance(end, datetime) else end
        first = start.date() if isinstance(start, datetime) else start
        if isinstance(start, datetime) and isinstance(end, datetime):
            check_order(start, end)
        if first is not None and last is not None and last < first:
            raise invalid("to", "must not be before from")
        return await books.reconciliation(caller, limit, cursor, LineFilter(first, last, product, source))
