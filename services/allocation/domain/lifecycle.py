"""The states of a subscription, and what each permits: one table."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from services.allocation.domain.permissions import Action
from shared.events.state import Lifecycle, Term

GRACE: Final = timedelta(days=30)
"""After the term: everything still works."""
READ_ONLY: Final = timedelta(days=90)
"""After the grace: everything can be seen, nothing changed."""

_SELL: Final[frozenset[Action]] = frozenset({"purchase-lot"})
_PREPARE: Final[frozenset[Action]] = frozenset({"subscribe-product", "set-policy"})
_ALLOCATE: Final[frozenset[Action]] = frozenset({"apply-plan", "override-plan"})

PERMITS: Final[Mapping[Lifecycle, frozenset[Action]]] = MappingProxyType(
    {
        "pending": _SELL | _PREPARE,
        "active": _SELL | _PREPARE | _ALLOCATE,
        "exhausted": _SELL | _PREPARE | _ALLOCATE,
        "grace": _PREPARE | _ALLOCATE,
        "read_only": frozenset(),
        "expired": frozenset(),
        "cancelled": frozenset(),
    }
)


def state_at(term: Term, now: datetime, *, cancelled_at: datetime | None = None) -> Lifecycle:
    """The state at ``now``. Each span includes its first instant and not its last."""
    if cancelled_at is not None and cancelled_at <= now:
        return "cancelled"
    if now < term.start:
        return "pending"
    over = now - term.end
    if over < timedelta(0):
        return "active"
    if over < GRACE:
        return "grace"
    if over < GRACE + READ_ONLY:
        return "read_only"
    return "expired"
