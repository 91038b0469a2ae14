"""Alerts and alert channels."""

from datetime import datetime
from typing import Literal

from services.reporting.api.answers.shapes import WriteAnswer
from services.reporting.api.fields import AnswerBody
from shared.events.alerts import AlertLifecycle, AlertScope, Severity


class Alert(WriteAnswer):
    id: str
    rule: str
    scope: AlertScope
    product: str | None
    severity: Severity
    threshold: int
    value_at: float
    value_now: float | None
    raised_at: datetime
    state: AlertLifecycle
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    message: str
    actions: list[str]


class Alerts(AnswerBody):
    items: list[Alert]
    next_cursor: str | None


class Channel(WriteAnswer):
    """``secret`` is present only in the answer that creates the channel."""

    id: str
    kind: Literal["webhook"]
    url: str
    created_by: str
    created_at: datetime
    secret: str | None = None


class Channels(AnswerBody):
    items: list[Channel]
    next_cursor: str | None
