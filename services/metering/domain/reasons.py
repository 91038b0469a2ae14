"""Why usage is not applied: the quarantine reasons, and what is known of a record that has one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from shared.events.quarantine import QuarantineReason

Reason = QuarantineReason

PASSING: frozenset[Reason] = frozenset(
    {"unknown_subscription", "unknown_product", "unknown_meter", "product_not_subscribed"}
)
"""Reasons that end when what was missing becomes known: such usage is applied by itself then.

``after_end`` ends too, with a renewal; but no batch waits for that to become known.
"""

UNKNOWN = "unknown"
"""Stands for a source or a product that cannot be read."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a record says about itself, as far as it can be read and stored."""

    source: str = UNKNOWN
    product: str = UNKNOWN
    subscription: str | None = None
    event_id: str | None = None


class RejectedError(Exception):
    """This record is not applied. ``detail`` is a sentence for a person."""

    def __init__(self, reason: Reason, detail: str, claim: Claim, at: datetime | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.claim = claim
        self.at = at
        """The event's time, where a later calendar may hold it."""

    def kept(self) -> Self:
        """Itself without its traceback, whose frames would hold the whole batch until garbage is collected."""
        self.__context__ = None
        return self.with_traceback(None)
