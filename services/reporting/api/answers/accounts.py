"""Accounts."""

from services.reporting.api.answers.shapes import Commanded
from services.reporting.api.fields import Shown


class Account(Commanded):
    id: str
    name: str
    flex_enabled: bool
    version: int


class Accounts(Shown):
    items: list[Account]
    next_cursor: str | None
