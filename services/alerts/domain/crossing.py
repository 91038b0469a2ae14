"""When a threshold is crossed: once on the way up, and again only after it was armed again.

All comparisons are between integers: a share of exactly 80 % has reached 80 %, and 79.999 % has not.

Passed thresholds are always the lower ones of a rule (whoever passed 90 passed 80, and what arms 80 again arms 90),
so one number, the highest passed, says which are armed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.alerts.domain.rules import REARM_POINTS, Threshold

NEVER: Final = 2**62
"""More than any part: sums of consumption included."""


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


def reaches(part: int, whole: int, threshold: Threshold) -> bool:
    """Whether ``part`` of ``whole`` has reached ``threshold``. Anything of nothing is beyond every percentage."""
    return part >= _first_reaching(whole, threshold)


def has_fallen(part: int, whole: int, threshold: Threshold) -> bool:
    """Whether ``part`` of ``whole`` is far enough below ``threshold`` for it to be armed again."""
    return part <= _last_fallen(whole, threshold)


def unmoved(passed: int, whole: int, thresholds: Sequence[Threshold]) -> tuple[int, int]:
    """The parts of ``whole`` strictly between these two cross nothing and arm nothing, after ``passed`` was passed."""
    above = next((_last_fallen(whole, one) for one in thresholds if one.percent == passed), -1)
    below = next((_first_reaching(whole, one) for one in thresholds if one.percent > passed), NEVER)
    return above, below


def _first_reaching(whole: int, threshold: Threshold) -> int:
    if threshold.exceeds:
        return threshold.percent * whole // 100 + 1
    return max(1, -(-threshold.percent * whole // 100))


def _last_fallen(whole: int, threshold: Threshold) -> int:
    percent = threshold.percent if threshold.exceeds else threshold.percent - REARM_POINTS
    return percent * whole // 100


def step(level: Level, part: int, whole: int, thresholds: Sequence[Threshold], *, opening: int | None = None) -> Step:
    """Move ``level`` to a new value.

    ``opening`` is given for the first value of a new window: the part with which the window began. A new window arms
    every threshold that its opening value does not reach; a burn-down that simply goes on crosses nothing anew.
    """
    base = level.passed
    if opening is not None:
        base = max((t.percent for t in thresholds if t.percent <= base and reaches(opening, whole, t)), default=0)
    passed = max(
        (
            t.percent
            for t in thresholds
            if reaches(part, whole, t) or (t.percent <= base and not has_fallen(part, whole, t))
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
