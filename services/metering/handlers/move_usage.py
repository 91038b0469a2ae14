"""Moves of usage that was placed by an older state of its subscription.

A subscription that is renewed, cancelled, or stops using a product may have later usage that was applied before that
was known. A pass takes such events out of their windows as a reversal would, and quarantines them; their identities
stay used. It puts back events that count again. Another pass follows once every transaction begun before has ended,
since those may still have applied usage by the older state.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from services.metering.domain.catalogue import Catalogue, SubscriptionView, microseconds
from services.metering.domain.corrections import NO_METER
from services.metering.domain.judgement import instant
from services.metering.domain.placement import OUTSIDE
from services.metering.domain.reasons import Reason
from services.metering.domain.spans import NEVER_US
from services.metering.handlers.apply_corrections import quarantine_corrections
from services.metering.handlers.correction_effects import Effects, apply_effects
from services.metering.store import books, corrections, moves, quarantine, recomputation, recomputed_windows
from services.metering.store.books import Entries, Line, Outcome
from services.metering.store.corrections import Correction
from services.metering.store.moves import AppliedUsage, DueMove, Gap, RemovedUsage
from services.metering.store.projection import Projection
from services.metering.store.window_changes import insert_due
from shared.events.metering import RestatementCause
from shared.runtime.delivery.transaction import Transaction

RECHECK_DELAY = timedelta(seconds=1)
"""Delay until the next pass, which finds usage applied concurrently."""
AT_ONCE = 5_000
"""Most events taken out in one pass."""
FAR = datetime.fromisoformat("9999-01-01T00:00:00Z")
CAUSE: RestatementCause = "several"


async def move_due_usage(tx: Transaction, projection: Projection, due: DueMove) -> None:
    """Make one pass over a subscription; delete the due move after the last pass."""
    catalogue = await projection.refresh(tx.connection)
    view = catalogue.by_number[due.subscription]
    effects = Effects(catalogue, tx.now)
    taken_out = await _take_out(tx, catalogue, view, effects, due.since) if due.lost else 0
    await _put_back(tx, catalogue, view, effects)
    await _move_purges(tx, catalogue, view, effects, due)
    await apply_effects(tx.connection, effects)
    if due.terms:
        await _republish(tx, view, due)
    if due.windows:
        await _recompute_windows(tx, catalogue, view, due)
    if taken_out == AT_ONCE:
        await moves.postpone(tx.connection, due.id, tx.now)
    elif due.looks_from is None:
        await moves.begin_recheck(tx.connection, due.id, tx.now + RECHECK_DELAY)
    elif due.looks_from < await corrections.load_oldest_running(tx.connection):
        await moves.delete_due(tx.connection, due.id)
    else:
        await moves.postpone(tx.connection, due.id, tx.now + RECHECK_DELAY)


async def move_all_usage(tx: Transaction, catalogue: Catalogue, since: datetime) -> None:
    """Quarantine usage that no longer counts, and put back what counts again.

    Only usage at ``since`` or later is quarantined. Windows do not change: the caller recomputes them. All due moves
    are deleted. Metering must not run.
    """
    for number, view in sorted(catalogue.by_number.items()):
        effects, due = Effects(catalogue, tx.now), DueMove(0, number, since, True, False, True, None)
        while await _take_out(tx, catalogue, view, effects, since) == AT_ONCE:
            pass
        await _put_back(tx, catalogue, view, effects)
        await _move_purges(tx, catalogue, view, effects, due)
    await moves.delete_all_due(tx.connection)


async def _take_out(
    tx: Transaction, catalogue: Catalogue, view: SubscriptionView, effects: Effects, since: datetime
) -> int:
    """Quarantine usage that lies outside the spans in which it counts.

    Return the number of events, at most ``AT_ONCE``.
    """
    found = await moves.lock_outside_spans(
        tx.connection, view.number, list(_gaps(catalogue, view, since)), since, AT_ONCE
    )
    taken = [_removed(catalogue, view, one) for one in found]
    for one in found:
        if one.target.reversed_at is None:
            effects.take_out(one.target, one.received_at, CAUSE)
    await moves.mark_quarantined(tx.connection, [one.target for one in found], tx.now)
    await moves.insert_quarantined(tx.connection, taken, tx.now, catalogue.version)
    await books.move_entries(tx.connection, _moves(catalogue, found, "applied", "quarantined"))
    return len(found)


def _gaps(catalogue: Catalogue, view: SubscriptionView, since: datetime) -> Iterator[Gap]:
    since_us = microseconds(since)
    for name in view.spans.uses:
        product = catalogue.products.get(name)
        gaps = view.spans.gaps(name, since_us) if product else []
        for meter in product.meters.values() if product else ():
            for start, end in gaps:
                yield meter.number, instant(start), FAR if end == NEVER_US else instant(end)


def _removed(catalogue: Catalogue, view: SubscriptionView, one: AppliedUsage) -> RemovedUsage:
    meter = catalogue.meters[one.target.meter]
    reason = _reason(view, meter.product, one.target.at) or "product_not_subscribed"
    detail = f"{OUTSIDE[reason]}; it was applied before that was known"
    return RemovedUsage(one, view.state.id, meter.product, meter.state.meter, reason, detail)


def _reason(view: SubscriptionView, product: str, at: datetime) -> Reason | None:
    return view.spans.reason_at(product, microseconds(at))


async def _put_back(tx: Transaction, catalogue: Catalogue, view: SubscriptionView, effects: Effects) -> None:
    """Count usage again that was taken out and lies in a span known since."""
    found = [
        one
        for one in await moves.lock_removed(tx.connection, view.state.id)
        if _reason(view, catalogue.meters[one.target.meter].product, one.target.at) is None
    ]
    for one in found:
        if one.target.reversed_at is None:
            effects.put_back(one.target, one.received_at, CAUSE)
    await moves.mark_quarantined(tx.connection, [one.target for one in found], None)
    settled = [(one.row, "applied") for one in found if one.row is not None]
    if settled:
        await quarantine.settle(tx.connection, settled, tx.now)
    await books.move_entries(tx.connection, _moves(catalogue, found, "quarantined", "applied"))


def _moves(catalogue: Catalogue, found: Sequence[AppliedUsage], was: Outcome, becomes: Outcome) -> Entries:
    entries: Entries = Counter()
    for one in found:
        line = Line(one.received_at.date(), one.partition, one.source, catalogue.meters[one.target.meter].product)
        entries[line, was] -= 1
        entries[line, becomes] += 1
    return entries


async def _move_purges(
    tx: Transaction, catalogue: Catalogue, view: SubscriptionView, effects: Effects, due: DueMove
) -> None:
    """Place purges by their own time, as usage is placed.

    Those that lie outside the spans are quarantined.
    """
    rejected: list[tuple[Correction, Reason, str]] = []
    placed: list[tuple[int, datetime]] = []
    for one in await moves.lock_purges(tx.connection, view.number, due.since):
        if reason := _reason(view, one.product, one.at):
            rejected.append((one, reason, f"{OUTSIDE[reason]}; it was applied before that was known"))
            effects.recompute(one, one.meter or NO_METER, one.window_start or one.at, one.resource, CAUSE)
        elif due.windows:
            placed.append((one.id, view.state.calendar.window_at(one.at).start))
            effects.add_days(effects.window_of(one.subscription, one.meter or NO_METER, one.at))
    await quarantine_corrections(tx, catalogue, rejected)
    await moves.place_purges(tx.connection, placed)


async def _republish(tx: Transaction, view: SubscriptionView, due: DueMove) -> None:
    """Publish windows again after a term has changed.

    Where usage may belong to another window, revisions are first raised above those published for the other term.
    """
    first = _first_window(view, due)
    if due.windows:
        await moves.raise_revisions(tx.connection, view.number, first)
    await moves.republish_windows(tx.connection, view.number, first)


async def _recompute_windows(tx: Transaction, catalogue: Catalogue, view: SubscriptionView, due: DueMove) -> None:
    """Recompute all windows since the change from raw usage.

    Events may belong to another window than before.
    """
    first = _first_window(view, due)
    await moves.lock_windows(tx.connection, view.number, first)
    days = await recomputation.prepare(tx.connection, catalogue, {view.number}, first)
    for day in days:
        await recomputation.add_windows_of(tx.connection, day)
    await recomputation.add_up(tx.connection)
    changed = await recomputed_windows.replace_windows(tx.connection, first, view.number)
    await insert_due(tx.connection, changed)


def _first_window(view: SubscriptionView, due: DueMove) -> datetime:
    return view.state.calendar.window_at(due.since - timedelta(microseconds=1)).start
