"""A subscription's state as metering holds it.

It is read from the same JSON as the shared model, and takes a tenth of the memory.
"""

import sys
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime

import msgspec

from shared.events.ids import AccountId, SubscriptionId
from shared.events.state import Lifecycle, Meter, OveragePolicy, Rate
from shared.windows import Calendar


class Term(msgspec.Struct, frozen=True, gc=False):
    """One term, as in ``shared.events.state.Term``."""

    start: datetime
    end: datetime
    rates_locked_at: datetime | None = None


class Span(msgspec.Struct, frozen=True, gc=False):
    """An ended span of use, as in ``shared.events.state.Span``."""

    start: datetime
    end: datetime


class Use(msgspec.Struct, frozen=True, gc=False):
    """A product that is or was used.

    It is a part of ``shared.events.state.SubscribedProduct``.
    """

    product: str
    allocated: int
    policy: OveragePolicy = "soft"
    restricted: bool = False
    ended_at: datetime | None = None
    subscribed_at: datetime | None = None
    earlier: tuple[Span, ...] = ()


class _State(msgspec.Struct, gc=False):
    id: SubscriptionId
    account: AccountId
    state: Lifecycle
    term: Term
    window_days: int
    products: tuple[Use, ...]
    terms: tuple[Term, ...] = ()
    cancelled_at: datetime | None = None


_read = msgspec.json.Decoder(_State).decode


@dataclass(frozen=True, slots=True)
class Subscription:
    """A part of ``shared.events.state.SubscriptionState``, with the same meaning.

    ``terms`` are all of them, in order.
    """

    id: SubscriptionId
    account: AccountId
    state: Lifecycle
    term: Term
    terms: tuple[Term, ...]
    calendar: Calendar
    products: tuple[Use, ...]
    cancelled_at: datetime | None = None

    @property
    def window_days(self) -> int:
        """Length of a measurement window, in days."""
        return self.calendar.days

    @property
    def active_products(self) -> tuple[Use, ...]:
        """Products whose use has not ended."""
        return tuple(one for one in self.products if one.ended_at is None)

    def term_at(self, now: datetime) -> Term:
        """Return the term in force: the last that has begun, or the first if none has."""
        return self.terms[max(bisect_right(self.calendar.starts, now) - 1, 0)]

    def rate_of(self, meter: Meter, window_start: datetime) -> Rate:
        """Return the rate of ``meter`` for the window that begins at ``window_start``.

        It is the rate in force at that time, or the one that the term has locked.
        """
        locked_at = self.term_at(window_start).rates_locked_at
        return meter.rate_at(window_start if locked_at is None else min(window_start, locked_at))


def read_subscription(text: str) -> Subscription:
    """Decode the JSON of a ``SubscriptionState``."""
    state = _read(text)
    terms = state.terms or (state.term,)
    products = tuple(msgspec.structs.replace(one, product=sys.intern(one.product)) for one in state.products)
    calendar = Calendar(tuple(term.start for term in terms), state.window_days)
    return Subscription(state.id, state.account, state.state, state.term, terms, calendar, products, state.cancelled_at)
