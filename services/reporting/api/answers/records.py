"""The caller, commands that they sent, and the audit log."""

from datetime import datetime
from typing import Any, Literal

from services.reporting.api.fields import AnswerBody


class Permitted(AnswerBody):
    id: str
    account: str
    name: str
    role: str
    permissions: list[str]


class Me(AnswerBody):
    email: str
    name: str
    vendor: bool
    subscriptions: list[Permitted]


class Command(AnswerBody):
    """A command that the caller sent, with its outcome.

    ``secret`` or ``key`` is present once, in the first answer after acceptance that shows it.
    """

    command_id: str
    command: str
    subscription: str | None
    sent_at: datetime
    status: Literal["pending", "accepted", "refused"]
    decided_at: datetime | None
    resource: str | None
    version: int | None
    result: dict[str, Any] | None
    refusal: dict[str, Any] | None
    secret: str | None = None
    key: str | None = None


class AuditEntry(AnswerBody):
    sequence: int
    at: datetime
    account: str
    subscription: str | None
    actor: str
    address: str | None
    action: str
    object: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    outcome: Literal["allowed", "denied"]
    reason: str | None
    correlation_id: str | None


class AuditEntries(AnswerBody):
    items: list[AuditEntry]
    next_cursor: str | None
