"""Summaries of subscriptions, for lists."""

from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.overview import Period
from shared.events.state import Lifecycle, Person, SubscriptionModel, SubscriptionState
from shared.windows import days_left


@dataclass(frozen=True, slots=True)
class SubscriptionSummary:
    """A subscription in a list."""

    id: str
    account: str
    name: str
    model: SubscriptionModel
    state: Lifecycle
    unit_label: str
    version: int
    term: Period
    primary_contact: Person
    purchased: int
    allocated: int
    unallocated: int
    over_allocated: int


def summary_of(state: SubscriptionState, now: datetime) -> SubscriptionSummary:
    """Summarise a subscription at ``now``."""
    term, purchased = state.term_at(now), state.purchased(now)
    return SubscriptionSummary(
        id=state.id,
        account=state.account,
        name=state.name,
        model=state.model,
        state=state.state,
        unit_label=state.unit_label,
        version=state.version,
        term=Period(term.start, term.end, days_left(term.end, now)),
        primary_contact=state.primary_contact,
        purchased=purchased,
        allocated=state.allocated,
        unallocated=max(0, purchased - state.allocated),
        over_allocated=max(0, state.allocated - purchased),
    )
