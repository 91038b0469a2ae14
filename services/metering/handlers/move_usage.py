"""What was placed by older knowledge is moved: out of the windows where it does not count, back where it does.

A subscription that is renewed, cancelled, or uses a product no longer may have usage since then that was applied before
that was known. A pass takes it out, event by event, into quarantine, exactly as a reversal would; the identity stays
taken. Whoever applied usage at the same moment by the older knowledge is waited for: another pass follows once every
transaction that began before has ended.
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
from services.metering.handlers.correction_effects import Effects, carry_out
from services.metering.store import books, corrections, moves, quarantine, recomputation, recomputed_windows
from services.metering.store.books import Entries, Line, Outcome
from services.metering.store.corrections import Correction
from services.metering.store.moves import Due, Gap, Placed, TakenOut
from services.metering.store.projection import Projection
from services.metering.store.window_changes import make_due
from shared.events.metering import RestatementCause
from shared.runtime.delivery.transaction import Transaction

AGAIN = timedelta(seconds=1)
"""How soon to look again for what was applied at the same moment."""
AT_ONCE = 5_000
"""Events moved in one pass."""
FAR = datetime.fromisoformat("9999-01-01T00:00:00Z")
CAUSE: RestatementCause = "several"


async def move_some(tx: Transaction, projection: Projection, due: Due) -> None:
    """A pass over one subscription; it is due no longer when nobody is left who could place otherwise."""
    catalogue = await projection.refresh(tx.connection)
    view = catalogue.by_number[due.subscription]
    effects = Effects(catalogue, tx.now)
    taken_out = await _take_out(tx, catalogue, view, effects, due.since) if due.lost else 0
    await _put_back(tx, catalogue, view, effects)
    await _move_purges(tx, catalogue, view, effects, due)
    await carry_out(tx.connection, effects)
    if due.terms:
        await _tell_again(tx, view, due)
    if due.windows:
        await _find_windows(tx, catalogue, view, due)
    if taken_out == AT_ONCE:
        await moves.postpone(tx.connection, due.id, tx.now)
    elif due.looks_from is None:
        await moves.look_from_here(tx.connection, due.id, tx.now + AGAIN)
    elif due.looks_from < await corrections.horizon(tx.connection):
        await moves.done(tx.connection, due.id)
    else:
        await moves.postpone(tx.connection, due.id, tx.now + AGAIN)


async def move_all(tx: Transaction, catalogue: Catalogue, since: datetime) -> None:
    """Quarantine, or take back, what was applied since then; windows are not touched. Metering must not run."""
    for number, view in sorted(catalogue.by_number.items()):
        effects, due = Effects(catalogue, tx.now), Due(0, number, since, True, False, True, None)
        while await _take_out(tx, catalogue, view, effects, since) == AT_ONCE:
            pass
        await _put_back(tx, catalogue, view, effects)
        await _move_purges(tx, catalogue, view, effects, due)
    await moves.all_done(tx.connection)


async def _take_out(
    tx: Transaction, catalogue: Catalogue, view: SubscriptionView, effects: Effects, since: datetime
) -> int:
    """What counts where nothing counts goes into quarantine; how much that was."""
    found = await moves.lock_outside(tx.connection, view.number, list(_gaps(catalogue, view, since)), since, AT_ONCE)
    taken = [_taken_out(catalogue, view, one) for one in found]
    for one in found:
        if one.target.reversed_at is None:
            effects.take_out(one.target, one.received_at, CAUSE)
    await moves.mark(tx.connection, [one.target for one in found], tx.now)
    await moves.quarantine(tx.connection, taken, tx.now, catalogue.version)
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


def _taken_out(catalogue: Catalogue, view: SubscriptionView, one: Placed) -> TakenOut:
    meter = catalogue.meters[one.target.meter]
    reason = _reason(view, meter.product, one.target.at) or "product_not_subscribed"
    detail = f"{OUTSIDE[reason]}; it was applied before that was known"
    return TakenOut(one, view.state.id, meter.product, meter.state.meter, reason, detail)


def _reason(view: SubscriptionView, product: str, at: datetime) -> Reason | None:
    return view.spans.reason_at(product, microseconds(at))


async def _put_back(tx: Transaction, catalogue: Catalogue, view: SubscriptionView, effects: Effects) -> None:
    """What was taken out and lies in a span that is known since counts after all."""
    found = [
        one
        for one in await moves.lock_taken_out(tx.connection, view.state.id)
        if _reason(view, catalogue.meters[one.target.meter].product, one.target.at) is None
    ]
    for one in found:
        if one.target.reversed_at is None:
            effects.put_back(one.target, one.received_at, CAUSE)
    await moves.mark(tx.connection, [one.target for one in found], None)
    settled = [(one.row, "applied") for one in found if one.row is not None]
    if settled:
        await quarantine.settle(tx.connection, settled, tx.now)
    await books.move_entries(tx.connection, _moves(catalogue, found, "quarantined", "applied"))


def _moves(catalogue: Catalogue, found: Sequence[Placed], was: Outcome, becomes: Outcome) -> Entries:
    entries: Entries = Counter()
    for one in found:
        line = Line(one.received_at.date(), one.partition, one.source, catalogue.meters[one.target.meter].product)
        entries[line, was] -= 1
        entries[line, becomes] += 1
    return entries


async def _move_purges(
    tx: Transaction, catalogue: Catalogue, view: SubscriptionView, effects: Effects, due: Due
) -> None:
    """Purges are placed by their own time, as usage is; they are kept whole, so that a replay judges them."""
    rejected: list[tuple[Correction, Reason, str]] = []
    placed: list[tuple[int, datetime]] = []
    for one in await moves.lock_purges(tx.connection, view.number, due.since):
        if reason := _reason(view, one.product, one.at):
            rejected.append((one, reason, f"{OUTSIDE[reason]}; it was applied before that was known"))
            effects.find_anew(one, one.meter or NO_METER, one.window_start or one.at, one.resource, CAUSE)
        elif due.windows:
            placed.append((one.id, view.state.calendar.window_at(one.at).start))
    await quarantine_corrections(tx, catalogue, rejected)
    await moves.place_purges(tx.connection, placed)


async def _tell_again(tx: Transaction, view: SubscriptionView, due: Due) -> None:
    """The window in which a term begins ends there now; figures that a window had in another term are outdone."""
    first = _first_window(view, due)
    if due.windows:
        await moves.raise_revisions(tx.connection, view.number, first)
    await moves.tell_again(tx.connection, view.number, first)


async def _find_windows(tx: Transaction, catalogue: Catalogue, view: SubscriptionView, due: Due) -> None:
    """What counted may be in another window: all of them since then are found in raw usage."""
    first = _first_window(view, due)
    await moves.lock_windows(tx.connection, view.number, first)
    days = await recomputation.prepare(tx.connection, catalogue, {view.number}, first)
    for day in days:
        await recomputation.add_windows_of(tx.connection, day)
    await recomputation.add_up(tx.connection)
    changed = await recomputed_windows.refill_windows(tx.connection, first, view.number)
    await make_due(tx.connection, changed)


def _first_window(view: SubscriptionView, due: Due) -> datetime:
    return view.state.calendar.window_at(due.since - timedelta(microseconds=1)).start
