"""Erasures of people."""

from datetime import datetime
from typing import Literal

from services.reporting.api.answers.shapes import WriteAnswer
from services.reporting.api.fields import AnswerBody


class Confirmation(AnswerBody):
    """The confirmation of a service; ``at`` is null until it has confirmed.

    ``ended``: how many things of each kind it ended.
    """

    service: str
    at: datetime | None
    ended: dict[str, int]


class Erasure(WriteAnswer):
    """``complete``: all services have confirmed."""

    person: str
    account: str | None
    requested_by: str
    requested_at: datetime
    reason: str
    due_at: datetime
    erased_at: datetime | None
    complete: bool
    confirmations: list[Confirmation]


class Kept(AnswerBody):
    what: str
    why: str


class ErasurePreview(WriteAnswer):
    """What an erasure would erase, what would be kept, and why.

    ``ends``: how many things of each kind would end or become unreadable.
    """

    preview: Literal[True] = True
    person: str
    due_at: datetime
    erases: list[str]
    ends: dict[str, int]
    keeps: list[Kept]
