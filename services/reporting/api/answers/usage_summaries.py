"""Consumption across subscriptions."""

from decimal import Decimal
from typing import Annotated

from pydantic import PlainSerializer

from services.reporting.api.fields import AnswerBody

Tenth = Annotated[Decimal, PlainSerializer(lambda exact: float(round(exact, 1)), return_type=float)]
"""A number with one decimal."""


class UsageSummary(AnswerBody):
    """Units of a product, account, subscription or month.

    ``key`` is its id; a month's is ``2026-11``.
    """

    key: str
    subscriptions: int
    average_level: Tenth
    burned_down: int


class UsageSummaries(AnswerBody):
    items: list[UsageSummary]
    next_cursor: str | None
