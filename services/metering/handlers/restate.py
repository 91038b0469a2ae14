"""Final windows that have changed are restated: both values are kept, and told. What cannot be restated waits alone.

A meter that adds up over the term carries a change into the windows after it: those that are final are restated too.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from services.metering import metrics
from services.metering.domain.catalogue import Catalogue
from services.metering.domain.consumption import History, Measured, Snapshot, snapshot
from services.metering.domain.subscription import Subscribed
from services.metering.handlers.isolated_work import do_each
from services.metering.store import consumption, restatements
from services.metering.store.projection import Projection
from services.metering.store.restatements import Before
from shared.events.metering import RestatementCause, WindowFigures, WindowRestated, event_key
from shared.events.topics import METERING_EVENTS_TOPIC
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection

WORK = "restatements"
POISONED = timedelta(seconds=30)
"""How long windows that cannot be restated wait, alone."""
Group = tuple[int, str]
"""Subscription number, product."""


async def restate_some(
    tx: Transaction, projection: Projection, until: datetime, limit: int, aside: SetAside | None = None
) -> int:
    """Write the restatements of some windows noted until then; how many notes there were. Those of a subscription for
    which that fails wait alone."""
    noted = await restatements.lock_noted(tx.connection, until, limit)
    if noted:
        catalogue = await projection.refresh(tx.connection)
        left = await do_each(
            tx,
            aside or SetAside(WORK),
            noted,
            lambda some: _restate(tx, catalogue, some),
            key=lambda one: f"{one.subscription}|{one.meter}|{one.measured.window_start.isoformat()}",
            whose=lambda one: catalogue.name_of(one.subscription),
        )
        await restatements.postpone_noted(tx.connection, left, tx.now + POISONED)
    return len(noted)


async def _restate(tx: Transaction, catalogue: Catalogue, noted: Sequence[Before]) -> None:
    groups: dict[Group, list[Before]] = defaultdict(list)
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
    await restatements.forget_noted(tx.connection, noted)


async def _load(
    connection: Connection, catalogue: Catalogue, groups: Mapping[Group, Sequence[Before]]
) -> consumption.Histories:
    """What is measured now: of products whose windows stand alone those that were noted, of the others all."""
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
    catalogue: Catalogue, group: Group, befores: Sequence[Before], now: History, at: datetime
) -> Iterator[WindowRestated]:
    """The windows of one subscription and product whose figures differ from what they were."""
    number, name = group
    state, product = catalogue.by_number[number].state, catalogue.products[name]
    was = _as_it_was(now, befores)
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
    now: Mapping[int, Sequence[Measured]], befores: Sequence[Before], state: Subscribed, at: datetime
) -> list[datetime]:
    """The windows that were noted, and the final ones after them that have figures."""
    noted = {one.measured.window_start for one in befores}
    first = min(noted)
    later = {one.window_start for windows in now.values() for one in windows if one.window_start > first}
    return sorted(noted | {start for start in later if not state.calendar.window_at(start).is_provisional(at)})


def _causes(
    start: datetime, befores: Sequence[Before], state: Subscribed, term_meters: Collection[int]
) -> set[RestatementCause]:
    """Why a window's figures may differ: it has changed itself, or a window before it that its term adds up."""
    term = state.term_at(start).start
    return {
        one.cause
        for one in befores
        if one.measured.window_start == start
        or (one.meter in term_meters and term <= one.measured.window_start < start)
    }


def _as_it_was(now: Mapping[int, Sequence[Measured]], befores: Sequence[Before]) -> dict[int, list[Measured]]:
    """The windows of each meter with those that have changed as they were."""
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
