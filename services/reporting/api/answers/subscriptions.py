"""Subscriptions, their purchases and their usage."""

from datetime import datetime

from services.reporting.api.answers.prices import PriceShown
from services.reporting.api.answers.shapes import PersonShown, Span
from services.reporting.api.fields import AnswerBody
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
