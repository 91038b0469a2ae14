"""Who may do what with a subscription's alerts."""

from typing import Literal

from shared.events.refusals import Refusal
from shared.events.state import Grant, SubscriptionState

Deed = Literal["acknowledge", "channels"]

_GRANTED: dict[Deed, frozenset[Grant]] = {"acknowledge": frozenset({"allocator"}), "channels": frozenset()}
_SENTENCES: dict[Deed, str] = {
    "acknowledge": "Only the primary contact, an allocator or the vendor may acknowledge alerts.",
    "channels": "Only the primary contact or the vendor may change where alerts go.",
}


def refusal_for(subscription: SubscriptionState, actor: str, is_vendor: bool, deed: Deed) -> Refusal | None:
    """Why ``actor`` may not do this; ``None`` when they may."""
    if is_vendor or actor == subscription.primary_contact.email:
        return None
    grants = {entry.grant for entry in subscription.grants if entry.email == actor}
    if not grants:
        return Refusal.not_found("subscription")
    if grants & _GRANTED[deed]:
        return None
    return Refusal(code="forbidden", message=_SENTENCES[deed])
