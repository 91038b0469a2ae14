"""Restatement of final windows that have changed.

The values before and after are saved and published. Windows that fail are set aside. A meter that adds up over the term
carries a change into the windows after it: those that are final are restated too.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from services.metering import metrics
from services.metering.domain.catalogue import Catalogue
from services.metering.domain.consumption import History, Measured, Snapshot, snapshot
from services.metering.domain.subscription import Subscription
from services.metering.handlers.isolated_work import run_isolated
from services.metering.store import consumption, restatements
from services.metering.store.projection import Projection
from services.metering.store.restatements import PreviousFigures
from shared.events.metering import RestatementCause, WindowFigures, WindowRestated, event_key
from shared.events.topics import METERING_EVENTS_TOPIC
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection

WORK = "restatements"
FAILED_DELAY = timedelta(seconds=30)
"""Delay until windows of a subscription that failed are restated again."""
Group = tuple[int, str]
"""Subscription number, product."""


async def publish_restatements(
    tx: Transaction, projection: Projection, until: datetime, limit: int, aside: SetAside | None = None
) -> int:
    """Save and publish restatements of at most ``limit`` noted windows.

    They were noted at ``until`` or earlier. Return how many were taken. Windows of a subscription that fails are set
    aside.
    """
    noted = await restatements.lock_previous_figures(tx.connection, until, limit)
    if noted:
        catalogue = await projection.refresh(tx.connection)
        left = await run_isolated(
            tx,
            aside or SetAside(WORK),
            noted,
            lambda some: _restate(tx, catalogue, some),
            key=lambda one: f"{one.subscription}|{one.meter}|{one.measured.window_start.isoformat()}",
            whose=lambda one: catalogue.name_of(one.subscription),
        )
        await restatements.postpone_restatements(tx.connection, left, tx.now + FAILED_DELAY)
    return len(noted)


async def _restate(tx: Transaction, catalogue: Catalogue, noted: Sequence[PreviousFigures]) -> None:
    groups: dict[Group, list[PreviousFigures]] = defaultdict(list)
    for one in noted:
        groups[one.subscription, catalogue.meters[one.meter].product].append(one)
    histories = await _load(tx.connection, catalogue, groups)
    restated: list[tuple[int, WindowRestated]] = [
        (group[0], one)
        for group, befores in sorted(groups.items())
        for one in _restated(catalogue, group, befores, histories.get(group[0], {}), tx.now)
    ]
    await restatements.insert_restatements(tx.connection, restated)
    for _, one_restated in restated:
        key = event_key(one_restated.product, one_restated.subscription)
        await tx.emit(METERING_EVENTS_TOPIC, key, one_restated, subject=one_restated.subscription)
        tx.after_commit(metrics.RESTATEMENTS.labels(cause=one_restated.cause).inc)
    await restatements.delete_previous_figures(tx.connection, noted)


async def _load(
    connection: Connection, catalogue: Catalogue, groups: Mapping[Group, Sequence[PreviousFigures]]
) -> consumption.Histories:
    """Load what is measured now.

    These are the noted windows, or all windows of products with a term meter.
    """
    single: set[tuple[int, int, datetime]] = set()
    whole: set[tuple[int, int]] = set()
    for (number, name), befores in groups.items():
        product = catalogue.products[name]
        numbers = [meter.number for meter in product.meters.values()]
        if product.adds_up:
            whole.update((number, meter) for meter in numbers)
        else:
            single.update((number, meter, one.measured.window_start) for one in befores for meter in numbers)
    histories = await consumption.load_histories(connection, whole) if whole else {}
    for number, windows in (await consumption.load_windows(connection, single)).items() if single else ():
        histories.setdefault(number, {}).update(windows)
    return histories


def _restated(
    catalogue: Catalogue, group: Group, befores: Sequence[PreviousFigures], now: History, at: datetime
) -> Iterator[WindowRestated]:
    """Make restatements of one subscription and product.

    They concern the windows whose figures changed.
    """
    number, name = group
    state, product = catalogue.by_number[number].state, catalogue.products[name]
    was = _previous_history(now, befores)
    term_meters = {meter.number for meter in product.meters.values() if meter.is_term}
    for start in _final_starts(now, befores, state, at):
        causes = _causes(start, befores, state, term_meters)
        after = snapshot(state, product, start, now) if causes else None
        if after is None:
            continue
        before = snapshot(state, product, start, was)
        if before and before.meters == after.meters:
            continue
        yield WindowRestated(
            subscription=state.id,
            product=product.state.id,
            window_start=after.window_start,
            window_end=after.window_end,
            before=_figures(before) if before else None,
            after=_figures(after),
            cause=causes.pop() if len(causes) == 1 else "several",
            restated_at=at,
        )


def _final_starts(
    now: Mapping[int, Sequence[Measured]], befores: Sequence[PreviousFigures], state: Subscription, at: datetime
) -> list[datetime]:
    """Starts of the noted windows, and of later final windows with figures."""
    noted = {one.measured.window_start for one in befores}
    first = min(noted)
    later = {one.window_start for windows in now.values() for one in windows if one.window_start > first}
    return sorted(noted | {start for start in later if not state.calendar.window_at(start).is_provisional(at)})


def _causes(
    start: datetime, befores: Sequence[PreviousFigures], state: Subscription, term_meters: Collection[int]
) -> set[RestatementCause]:
    """Return the causes for which a window's figures may differ.

    It may have changed itself, or an earlier window of its term may have changed that a term meter adds up.
    """
    term = state.term_at(start).start
    return {
        one.cause
        for one in befores
        if one.measured.window_start == start
        or (one.meter in term_meters and term <= one.measured.window_start < start)
    }


def _previous_history(
    now: Mapping[int, Sequence[Measured]], befores: Sequence[PreviousFigures]
) -> dict[int, list[Measured]]:
    """Return the windows of each meter as they were before the changes.

    Changed windows have their previous figures.
    """
    known = {number: {one.window_start: one for one in windows} for number, windows in now.items()}
    for one in befores:
        windows = known.setdefault(one.meter, {})
        windows.pop(one.measured.window_start, None)
        if one.measured.revision:
            windows[one.measured.window_start] = one.measured
    return {number: sorted(windows.values()) for number, windows in known.items()}


def _figures(of: Snapshot) -> WindowFigures:
    meters = msgspec.to_builtins(of.meters, builtin_types=(datetime,))
    return WindowFigures.model_validate({"revision": of.revision, "consumed": of.consumed, "meters": meters})
