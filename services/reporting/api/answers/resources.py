"""Counted resources."""

from datetime import datetime

from services.reporting.api.fields import Shown


class CountedIn(Shown):
    start: datetime
    end: datetime


class CountedResource(Shown):
    resource: str
    first_received_at: datetime


class Resources(Shown):
    subscription: str
    product: str
    meter: str
    window: CountedIn
    counted: int
    items: list[CountedResource]
    next_cursor: str | None
