"""Final windows that have changed are restated: both values are kept, and told."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from services.metering import metrics
from services.metering.domain.consumption import Measured, Snapshot, snapshot
from services.metering.store import consumption, restatements
from services.metering.store.projection import Projection
from services.metering.store.restatements import Before
from shared.events.metering import RestatementCause, WindowFigures, WindowRestated
from shared.events.topics import METERING_EVENTS_TOPIC
from shared.runtime.delivery import Transaction

Group = tuple[int, str, datetime]
"""Subscription number, product, window start."""


async def restate_some(tx: Transaction, projection: Projection, until: datetime, limit: int) -> int:
    """Write the restatements of some windows noted until then; how many notes there were."""
    noted = await restatements.lock_noted(tx.connection, until, limit)
    if noted:
        await projection.refresh(tx.connection)
        groups: dict[Group, list[Before]] = defaultdict(list)
        for one in noted:
            meter = projection.catalogue.meters[one.meter]
            groups[one.subscription, meter.product, one.measured.window_start].append(one)
        for group, befores in sorted(groups.items()):
            await _restate(tx, projection, group, befores)
        await restatements.forget_noted(tx.connection, noted)
    return len(noted)


async def _restate(tx: Transaction, projection: Projection, group: Group, befores: Sequence[Before]) -> None:
    number, name, start = group
    catalogue = projection.catalogue
    state, product = catalogue.by_number[number].state, catalogue.products[name]
    numbers = {(number, meter.number) for meter in product.meters.values()}
    histories = await consumption.load_histories(tx.connection, numbers)
    now = histories.get(number, {})
    after = snapshot(state, product, start, now)
    before = snapshot(state, product, start, _as_it_was(now, befores))
    if after is None or (before and before.meters == after.meters):
        return
    restated = WindowRestated(
        subscription=state.id,
        product=product.state.id,
        window_start=after.window_start,
        window_end=after.window_end,
        before=_figures(before) if before else None,
        after=_figures(after),
        cause=_cause(befores),
        restated_at=tx.now,
    )
    await restatements.insert_restatement(tx.connection, number, restated)
    await tx.emit(METERING_EVENTS_TOPIC, restated.product, restated, subject=restated.subscription)
    tx.after_commit(lambda: metrics.RESTATEMENTS.labels(cause=restated.cause).inc())


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


def _cause(befores: Sequence[Before]) -> RestatementCause:
    causes = {one.cause for one in befores}
    return causes.pop() if len(causes) == 1 else "several"
