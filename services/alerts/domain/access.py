"""Authorisation of actions on a subscription's alerts and channels."""

from typing import Literal

from shared.events.refusals import Refusal
from shared.events.state import Grant, SubscriptionState

Action = Literal["acknowledge", "channels"]

_GRANTED: dict[Action, frozenset[Grant]] = {"acknowledge": frozenset({"allocator"}), "channels": frozenset()}
_SENTENCES: dict[Action, str] = {
    "acknowledge": "Only the primary contact, an allocator or the vendor may acknowledge alerts.",
    "channels": "Only the primary contact or the vendor may change where alerts go.",
}


def refusal_for(subscription: SubscriptionState, actor: str | None, is_vendor: bool, action: Action) -> Refusal | None:
    """Return why ``actor`` may not do ``action``; ``None`` if they may.

    Without any grant it is ``not_found``.
    """
    if is_vendor or actor == subscription.primary_contact:
        return None
    grants = {entry.grant for entry in subscription.grants if entry.person == actor}
    if not grants:
        return Refusal.not_found("subscription")
    if grants & _GRANTED[action]:
        return None
    return Refusal(code="forbidden", message=_SENTENCES[action])
