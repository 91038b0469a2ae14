"""The utilisation class of a product.

The classes are over, near, healthy, under and idle, or none yet.

``over`` > 100 %, ``near`` > 90 %, ``healthy`` 50-90 %, ``under`` < 50 % in each of the last 3 closed windows, ``idle``
no usage in them (docs/domain.md). Cases that this definition leaves open:

- units are compared, not rounded percentages: 1,001 of 1,000 is over;
- any consumption without an allocation is ``over``; without either there is no class (``None``);
- closed windows are measured against today's allocation, and count only if the product was subscribed to before the
  first of them began; a window without a snapshot had no usage;
- below half, but not in each of three such windows, is ``healthy``: one quiet window is no reason to take units away;
- no usage yet, and not subscribed for three windows: no class, since nothing is known;
- a product whose units burn down over the term is never ``under``: early in a term it should be low. It is ``idle``
  if the closed windows added nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

UtilisationClass = Literal["over", "near", "healthy", "under", "idle"]
CLOSED_WINDOWS = 3


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """A product's consumption by the end of a closed window.

    ``used`` says whether that window had usage.
    """

    consumed: int
    used: bool


def utilisation_class(
    allocated: int, consumed: int, closed: Sequence[ClosedWindow], *, burns_down: bool, used_now: bool
) -> UtilisationClass | None:
    """Classify a product.

    ``closed``: the last closed windows since it was subscribed to, at most three. ``used_now``: whether the current
    window has usage. ``burns_down``: whether a meter of the product adds up over the term.
    """
    if consumed > allocated:
        return "over"
    if allocated == 0:
        return None
    if consumed * 10 > allocated * 9:
        return "near"
    return _below_near(allocated, consumed, closed, burns_down=burns_down, used_now=used_now)


def _below_near(
    allocated: int, consumed: int, closed: Sequence[ClosedWindow], *, burns_down: bool, used_now: bool
) -> UtilisationClass | None:
    was_used = any(window.used for window in closed)
    if len(closed) < CLOSED_WINDOWS:
        return "healthy" if consumed or was_used else None
    if not was_used:
        return "healthy" if used_now else "idle"
    if consumed * 2 >= allocated or burns_down:
        return "healthy"
    return "under" if all(window.consumed * 2 < allocated for window in closed) else "healthy"
