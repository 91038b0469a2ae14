"""Subscriptions, their purchases and their usage."""

from datetime import datetime

from services.reporting.api.answers.prices import PriceShown
from services.reporting.api.answers.shapes import PersonShown, Span
from services.reporting.api.fields import AnswerBody
from services.reporting.domain import usage as domain
from services.reporting.domain.quantity import quantity
from shared.events.state import Lifecycle, SubscriptionModel


class SubscriptionInList(AnswerBody):
    id: str
    account: str
    name: str
    model: SubscriptionModel
    state: Lifecycle
    unit_label: str
    version: int
    term: Span
    primary_contact: PersonShown
    purchased: int
    allocated: int
    unallocated: int
    over_allocated: int


class Subscriptions(AnswerBody):
    items: list[SubscriptionInList]
    next_cursor: str | None


class Lot(AnswerBody):
    id: str
    units: int
    start: datetime
    end: datetime
    order_reference: str
    purchased_at: datetime
    voided_at: datetime | None
    void_reason: str | None
    valid: bool
    price: PriceShown | None


class Lots(AnswerBody):
    items: list[Lot]
    next_cursor: str | None = None


class TermToDate(AnswerBody):
    """The running totals of a meter that burns down, until the end of the window."""

    aggregate: int | str
    consumed: int


class UsageItem(AnswerBody):
    """What a window added. ``revision`` 0: no measurement."""

    product: str
    meter: str
    start: datetime
    end: datetime
    aggregate: int | str
    consumed: int
    provisional: bool
    revision: int
    term_to_date: TermToDate | None


class Usage(AnswerBody):
    items: list[UsageItem]
    next_cursor: str | None = None


def usage_item(item: domain.UsageItem) -> UsageItem:
    """Convert an item to the API's answer."""
    total = item.term_to_date
    return UsageItem(
        product=item.product,
        meter=item.meter,
        start=item.start,
        end=item.end,
        aggregate=quantity(item.aggregate),
        consumed=item.consumed,
        provisional=item.provisional,
        revision=item.revision,
        term_to_date=total and TermToDate(aggregate=quantity(total.aggregate), consumed=total.consumed),
    )
