"""Accounts."""

from services.reporting.api.answers.shapes import WriteAnswer
from services.reporting.api.fields import AnswerBody


class Account(WriteAnswer):
    id: str
    name: str
    flex_enabled: bool
    version: int


class Accounts(AnswerBody):
    items: list[Account]
    next_cursor: str | None
