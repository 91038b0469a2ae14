"""When a threshold is crossed: once on the way up, and again only after it was armed again.

All comparisons are between integers: a share of exactly 80 % has reached 80 %, and 79.999 % has not.

Passed thresholds are always the lower ones of a rule (whoever passed 90 passed 80, and what arms 80 again arms 90),
so one number, the highest passed, says which are armed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.alerts.domain.rules import REARM_POINTS, Threshold


@dataclass(frozen=True, slots=True)
class Level:
    """Where one share stands: ``part`` of ``whole``.

    ``passed`` is the highest threshold that is passed (0: none, all are armed); ``raised`` counts the alerts that
    this share ever raised; the ``previous_`` figures are those of the step before, for whoever asks why.
    """

    part: int = 0
    whole: int = 0
    passed: int = 0
    raised: int = 0
    previous_part: int = 0
    previous_whole: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What one new value did.

    ``crossed`` is the highest threshold that was crossed upward, the only one to tell of; alerts of thresholds above
    ``over_above`` are over.
    """

    level: Level
    crossed: Threshold | None
    over_above: int


def reaches(part: int, whole: int, percent: int) -> bool:
    """Whether ``part`` is at least ``percent`` of ``whole``. Anything of nothing is beyond every percentage."""
    return part > 0 if whole == 0 else part * 100 >= percent * whole


def has_fallen(part: int, whole: int, percent: int) -> bool:
    """Whether ``part`` is far enough below ``percent`` of ``whole`` for that threshold to be armed again."""
    return part * 100 <= (percent - REARM_POINTS) * whole


def step(level: Level, part: int, whole: int, thresholds: Sequence[Threshold], *, opening: int | None = None) -> Step:
    """Move ``level`` to a new value.

    ``opening`` is given for the first value of a new window: the part with which the window began. A new window arms
    every threshold that its opening value does not reach; a burn-down that simply goes on crosses nothing anew.
    """
    base = level.passed
    if opening is not None:
        base = max(
            (t.percent for t in thresholds if t.percent <= base and reaches(opening, whole, t.percent)), default=0
        )
    passed = max(
        (
            t.percent
            for t in thresholds
            if reaches(part, whole, t.percent) or (t.percent <= base and not has_fallen(part, whole, t.percent))
        ),
        default=0,
    )
    crossed = next((t for t in thresholds if t.percent == passed), None) if passed > base else None
    moved = Level(
        part=part,
        whole=whole,
        passed=passed,
        raised=level.raised + (crossed is not None),
        previous_part=level.part,
        previous_whole=level.whole,
    )
    return Step(level=moved, crossed=crossed, over_above=min(base, passed))
