"""Threshold crossings.

A threshold is crossed once on the way up, and again only after it was rearmed. All comparisons are between integers: a
share of exactly 80 % has reached 80 %, and 79.999 % has not.

Passed thresholds are always the lowest of a rule (a share past 90 is past 80, and what rearms 80 rearms 90), so the
highest passed one says which are armed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.alerts.domain.rules import REARM_POINTS, Threshold

NEVER: Final = 2**62
"""Above every possible part, also above sums of consumption."""


@dataclass(frozen=True, slots=True)
class Level:
    """The state of one share: ``part`` of ``whole`` units.

    ``passed`` is the highest passed threshold in percent (0: none, all are armed); ``raised`` counts the alerts ever
    raised for this share; the ``previous_`` figures are those before the last step, for diagnosis.
    """

    part: int = 0
    whole: int = 0
    passed: int = 0
    raised: int = 0
    previous_part: int = 0
    previous_whole: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one new value.

    ``crossed`` is the highest threshold crossed upward, the only one to raise an alert; alerts of thresholds above
    ``over_above`` percent are resolved.
    """

    level: Level
    crossed: Threshold | None
    over_above: int


def reaches(part: int, whole: int, threshold: Threshold) -> bool:
    """Whether ``part`` of ``whole`` has reached ``threshold``.

    Any part above 0 of a whole of 0 has reached it.
    """
    return part >= _first_reaching(whole, threshold)


def has_fallen(part: int, whole: int, threshold: Threshold) -> bool:
    """Whether ``part`` of ``whole`` is far enough below ``threshold`` to rearm it."""
    return part <= _last_fallen(whole, threshold)


def crossing_free_range(passed: int, whole: int, thresholds: Sequence[Threshold]) -> tuple[int, int]:
    """Return the range (above, below) of parts that cross and rearm nothing.

    The parts lie strictly between the two; the range is valid while ``passed`` is the highest passed percentage.
    """
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

    ``opening`` is given for the first value of a new window: the part with which the window began. A new window rearms
    every threshold that its opening value does not reach, so a burn-down that continues crosses nothing twice.
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
