"""Effects of a set of corrections, collected first and then applied together.

They change windows, resources and hours, and have final windows restated.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from services.metering.domain.catalogue import COUNT, LATEST, PEAK, SUM, UNIQUE, Catalogue
from services.metering.store import hours, measured_days, restatements, window_changes
from services.metering.store.corrections import Correction, Target
from services.metering.store.measured_days import DAY
from services.metering.store.window_changes import Key, ResourceKey, WindowKey
from shared.events.metering import RestatementCause
from shared.runtime.postgres.pool import Connection


@dataclass(slots=True)
class Effects:
    """Collected effects.

    Adding one again changes nothing, except for ``totals`` and ``hours``.
    """

    catalogue: Catalogue
    now: datetime
    totals: dict[Key, list[tuple[Decimal, datetime]]] = field(default_factory=lambda: defaultdict(list))
    """Amounts to subtract from each window of a sum or count.

    Each amount has the append time of its cause.
    """
    levels: dict[int, set[WindowKey]] = field(default_factory=lambda: {PEAK: set(), LATEST: set()})
    """By kind of meter: windows whose level is recomputed."""
    resources: set[ResourceKey] = field(default_factory=set)
    """Resources that are counted again."""
    back: set[Key] = field(default_factory=set)
    """Windows in which usage counts again; they are inserted if they do not exist."""
    hours: list[tuple[Key, int, Decimal]] = field(default_factory=list)
    """Events that no longer count (-1) or count again (1): hour, sign, quantity."""
    days: set[Key] = field(default_factory=set)
    """Days in which other resources may count, by their start."""
    final: dict[RestatementCause, set[Key]] = field(default_factory=lambda: defaultdict(set))
    """By cause: final windows that are restated."""
    as_of: datetime | None = None
    """The newest append time of all causes."""

    def take_out(self, target: Target, as_of: datetime, cause: RestatementCause = "reversal") -> WindowKey:
        """Take a usage event out. Return the window that it counted in."""
        return self._change(target, -1, as_of, cause)

    def put_back(self, target: Target, as_of: datetime, cause: RestatementCause) -> WindowKey:
        """Count a usage event that was taken out. Return the window that it counts in."""
        window = self._change(target, 1, as_of, cause)
        self.back.add(window.key)
        return window

    def _change(self, target: Target, sign: int, as_of: datetime, cause: RestatementCause) -> WindowKey:
        window = self.window_of(target.subscription, target.meter, target.at)
        kind = self.catalogue.meters[target.meter].kind
        hour = target.at.replace(minute=0, second=0, microsecond=0)
        self.hours.append(((target.subscription, target.meter, hour), sign, target.quantity))
        self._note(as_of, window, cause)
        if kind in (SUM, COUNT):
            amount = Decimal(1) if kind == COUNT else target.quantity
            self.totals[window.key].append((-sign * amount, as_of))
        else:
            self._recompute(window, kind, target.resource)
        return window

    def recompute(
        self, by: Correction, meter: int, at: datetime, resource: str | None, cause: RestatementCause
    ) -> None:
        """Have a level or a resource recomputed from raw usage.

        It is the level, or this resource, of the window that contains ``at``.
        """
        window = self.window_of(by.subscription, meter, at)
        self._note(by.received_at, window, cause)
        self._recompute(window, self.catalogue.meters[meter].kind, resource)
        self.add_days(window)

    def add_days(self, window: WindowKey) -> None:
        """Have the days of the window measured again.

        A purge acts on all that is before it there. What reversals change in days is added with their hours.
        """
        if self.catalogue.meters[window.meter].kind == UNIQUE:
            day, last = _midnight(window.start), min(window.end, self.now)
            while day <= last:
                self.days.add((window.subscription, window.meter, day))
                day += DAY

    def window_of(self, subscription: int, meter: int, at: datetime) -> WindowKey:
        """Return the meter's window that contains ``at``."""
        window = self.catalogue.by_number[subscription].state.calendar.window_at(at)
        return WindowKey(subscription, meter, window.start, window.end)

    def is_subtracted(self, meter: int) -> bool:
        """Whether the meter is corrected by subtraction.

        Concurrent usage cannot falsify a subtraction.
        """
        return self.catalogue.meters[meter].kind in (SUM, COUNT)

    def _recompute(self, window: WindowKey, kind: int, resource: str | None) -> None:
        if kind == UNIQUE:
            self.resources.add(ResourceKey(window, resource or ""))
        elif kind in self.levels:
            self.levels[kind].add(window)

    def _note(self, as_of: datetime, window: WindowKey, cause: RestatementCause) -> None:
        self.as_of = max(as_of, self.as_of or as_of)
        calendar = self.catalogue.by_number[window.subscription].state.calendar
        if not calendar.window_at(window.start).is_provisional(self.now):
            self.final[cause].add(window.key)


async def apply_effects(connection: Connection, effects: Effects) -> None:
    """Apply the effects, taking locks in the order of ``store.usage_batch``."""
    for cause, keys in sorted(effects.final.items()):
        await restatements.insert_previous_figures(connection, keys, cause, effects.now)
    amounts = [
        (key, sum((amount for amount, _ in parts), Decimal(0)), max(at for _, at in parts))
        for key, parts in sorted(effects.totals.items())
    ]
    await window_changes.insert_windows(connection, effects.back, effects.as_of or effects.now)
    changed = await window_changes.subtract(connection, amounts)
    changed += await window_changes.recompute_levels(connection, PEAK, effects.levels[PEAK])
    changed += await window_changes.recompute_levels(connection, LATEST, effects.levels[LATEST])
    changed += await window_changes.recount_resources(connection, effects.resources, effects.as_of or effects.now)
    await hours.insert_due(connection, effects.hours)
    await measured_days.insert_due(connection, effects.days)
    await window_changes.insert_due(connection, changed)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
