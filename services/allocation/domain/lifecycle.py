"""The states of a subscription, and what each permits: one table."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from services.allocation.domain.permissions import Action
from shared.events.state import Lifecycle, Term

GRACE: Final = timedelta(days=30)
"""Length of the grace period after the term.

All commands are permitted in it, except purchases of lots.
"""
READ_ONLY: Final = timedelta(days=90)
"""Length of the read-only period after the grace period.

Everything can be read. Only the contract, the primary contact and the grants can be changed.
"""

FLEX: Final[frozenset[Action]] = frozenset(
    {
        "purchase-lot",
        "void-lot",
        "lock-rates",
        "subscribe-product",
        "unsubscribe-product",
        "set-policy",
        "apply-plan",
        "override-plan",
    }
)
"""Actions on a pool of units; per-product licensing has no pool."""

_SELL: Final[frozenset[Action]] = frozenset({"purchase-lot"})
_PREPARE: Final[frozenset[Action]] = frozenset(
    {"subscribe-product", "unsubscribe-product", "set-policy", "void-lot", "lock-rates"}
)
_ALLOCATE: Final[frozenset[Action]] = frozenset({"apply-plan", "override-plan"})
_CONTRACT: Final[frozenset[Action]] = frozenset({"renew-subscription", "cancel-subscription", "convert-subscription"})
_PEOPLE: Final[frozenset[Action]] = frozenset({"set-primary-contact", "set-grants"})
"""Actions on people, permitted in every state of a subscription.

The history stays readable forever, so who may read it can always be changed.
"""

PERMITS: Final[Mapping[Lifecycle, frozenset[Action]]] = MappingProxyType(
    {
        "pending": _SELL | _PREPARE | _CONTRACT | _PEOPLE,
        "active": _SELL | _PREPARE | _ALLOCATE | _CONTRACT | _PEOPLE,
        "exhausted": _SELL | _PREPARE | _ALLOCATE | _CONTRACT | _PEOPLE,
        "grace": _PREPARE | _ALLOCATE | _CONTRACT | _PEOPLE,
        "read_only": _CONTRACT | _PEOPLE,
        "expired": _PEOPLE,
        "cancelled": _PEOPLE,
    }
)


def state_at(term: Term, now: datetime, *, cancelled_at: datetime | None = None, exhausted: bool = False) -> Lifecycle:
    """Return the lifecycle state at ``now``.

    Each span includes its first instant and not its last. ``exhausted`` says whether the pool is consumed; it shows
    only during the term.
    """
    if cancelled_at is not None and cancelled_at <= now:
        return "cancelled"
    if now < term.start:
        return "pending"
    over = now - term.end
    if over < timedelta(0):
        return "exhausted" if exhausted else "active"
    if over < GRACE:
        return "grace"
    if over < GRACE + READ_ONLY:
        return "read_only"
    return "expired"
