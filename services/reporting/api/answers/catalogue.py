"""The catalogue."""

from datetime import datetime

from services.reporting.api.answers.shapes import WriteAnswer
from services.reporting.api.fields import AnswerBody
from shared.events.state import Aggregation, Reset


class RateShown(AnswerBody):
    version: int
    units: int
    block: int
    effective_from: datetime


class MeterOfProduct(AnswerBody):
    meter: str
    name: str
    aggregation: Aggregation
    reset: Reset
    rates: list[RateShown]


class PermissionOfProduct(AnswerBody):
    id: str
    category: str
    description: str


class RoleTemplateShown(AnswerBody):
    role: str
    name: str
    summary: str
    permissions: list[str]


class Product(WriteAnswer):
    id: str
    name: str
    sources: list[str]
    meters: list[MeterOfProduct]
    retired_at: datetime | None
    permissions: list[PermissionOfProduct]
    roles: list[RoleTemplateShown]
    roles_version: int
    version: int


class Products(AnswerBody):
    items: list[Product]
    next_cursor: str | None


class Meters(AnswerBody):
    items: list[MeterOfProduct]
    next_cursor: str | None = None


class RateOfMeter(RateShown):
    meter: str


class Rates(AnswerBody):
    items: list[RateOfMeter]
    next_cursor: str | None = None
