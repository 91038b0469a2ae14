"""Summaries of subscriptions, for lists."""

from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.overview import Period
from services.reporting.domain.people import erased
from shared.events.state import Lifecycle, PersonState, SubscriptionModel, SubscriptionState
from shared.windows import days_left


@dataclass(frozen=True, slots=True)
class Contact:
    """The address and name of a primary contact.

    Of one who was erased there is only what is shown instead.
    """

    email: str
    name: str

    @staticmethod
    def of(person: str, known: PersonState | None) -> "Contact":
        """Return the contact of this id; ``known``: what is known of them."""
        return Contact(known.email, known.name) if known else Contact("", erased(person))


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
    primary_contact: Contact
    purchased: int
    allocated: int
    unallocated: int
    over_allocated: int


def summary_of(state: SubscriptionState, contact: PersonState | None, now: datetime) -> SubscriptionSummary:
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
        primary_contact=Contact.of(state.primary_contact, contact),
        purchased=purchased,
        allocated=state.allocated,
        unallocated=max(0, purchased - state.allocated),
        over_allocated=max(0, state.allocated - purchased),
    )
