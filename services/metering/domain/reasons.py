"""Quarantine reasons, and what a rejected record states about itself."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from shared.events.quarantine import QuarantineReason

Reason = QuarantineReason

TRANSIENT: frozenset[Reason] = frozenset(
    {"unknown_subscription", "unknown_product", "unknown_meter", "product_not_subscribed"}
)
"""Reasons that end once the missing state arrives.

Usage rejected for one of them is then applied automatically. ``after_end`` may end too, by a renewal, but no batch
waits for one.
"""

UNKNOWN = "unknown"
"""In place of a source or product that cannot be read."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a record states about itself, as far as it can be read and stored."""

    source: str = UNKNOWN
    product: str = UNKNOWN
    subscription: str | None = None
    event_id: str | None = None


class RejectedError(Exception):
    """A record is not applied.

    ``detail``: a sentence for a person. ``claim``: what the record states about itself.
    """

    def __init__(self, reason: Reason, detail: str, claim: Claim, at: datetime | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.claim = claim
        self.at = at
        """The event's time, where a later renewal may include it."""

    def without_traceback(self) -> Self:
        """Return the error without its traceback.

        The frames of the traceback would keep the whole batch in memory.
        """
        self.__context__ = None
        return self.with_traceback(None)
