"""Counted resources."""

from datetime import datetime

from services.reporting.api.fields import AnswerBody


class CountedIn(AnswerBody):
    start: datetime
    end: datetime


class CountedResource(AnswerBody):
    resource: str
    first_received_at: datetime


class Resources(AnswerBody):
    subscription: str
    product: str
    meter: str
    window: CountedIn
    counted: int
    items: list[CountedResource]
    next_cursor: str | None
