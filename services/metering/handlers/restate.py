"""Final windows that have changed are restated: both values are kept, and told.

A meter that adds up over the term carries a change into the windows after it: those that are final are restated too.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from services.metering import metrics
from services.metering.domain.consumption import Measured, Snapshot, snapshot
from services.metering.store import consumption, restatements
from services.metering.store.projection import Projection
from services.metering.store.restatements import Before
from shared.events.metering import RestatementCause, WindowFigures, WindowRestated
from shared.events.state import SubscriptionState
from shared.events.topics import METERING_EVENTS_TOPIC
from shared.runtime.delivery import Transaction

Group = tuple[int, str]
"""Subscription number, product."""


async def restate_some(tx: Transaction, projection: Projection, until: datetime, limit: int) -> int:
    """Write the restatements of some windows noted until then; how many notes there were."""
    noted = await restatements.lock_noted(tx.connection, until, limit)
    if noted:
        await projection.refresh(tx.connection)
        groups: dict[Group, list[Before]] = defaultdict(list)
        for one in noted:
            groups[one.subscription, projection.catalogue.meters[one.meter].product].append(one)
        for group, befores in sorted(groups.items()):
            await _restate(tx, projection, group, befores)
        await restatements.forget_noted(tx.connection, noted)
    return len(noted)


async def _restate(tx: Transaction, projection: Projection, group: Group, befores: Sequence[Before]) -> None:
    number, name = group
    catalogue = projection.catalogue
    state, product = catalogue.by_number[number].state, catalogue.products[name]
    numbers = {(number, meter.number) for meter in product.meters.values()}
    now = (await consumption.load_histories(tx.connection, numbers)).get(number, {})
    was = _as_it_was(now, befores)
    term_meters = {meter.number for meter in product.meters.values() if meter.is_term}
    for start in _final_starts(now, befores, state, tx.now):
        causes = _causes(start, befores, state, term_meters)
        after = snapshot(state, product, start, now) if causes else None
        before = snapshot(state, product, start, was)
        if after is None or (before and before.meters == after.meters):
            continue
        restated = WindowRestated(
            subscription=state.id,
            product=product.state.id,
            window_start=after.window_start,
            window_end=after.window_end,
            before=_figures(before) if before else None,
            after=_figures(after),
            cause=causes.pop() if len(causes) == 1 else "several",
            restated_at=tx.now,
        )
        await restatements.insert_restatement(tx.connection, number, restated)
        await tx.emit(METERING_EVENTS_TOPIC, restated.product, restated, subject=restated.subscription)
        tx.after_commit(metrics.RESTATEMENTS.labels(cause=restated.cause).inc)


def _final_starts(
    now: Mapping[int, Sequence[Measured]], befores: Sequence[Before], state: SubscriptionState, at: datetime
) -> list[datetime]:
    """The windows that were noted, and the final ones after them that have figures."""
    noted = {one.measured.window_start for one in befores}
    first = min(noted)
    later = {one.window_start for windows in now.values() for one in windows if one.window_start > first}
    return sorted(noted | {start for start in later if not state.calendar.window_at(start).is_provisional(at)})


def _causes(
    start: datetime, befores: Sequence[Before], state: SubscriptionState, term_meters: Collection[int]
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
