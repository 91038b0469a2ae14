"""The catalogue."""

from datetime import datetime

from services.reporting.api.answers.shapes import Commanded
from services.reporting.api.fields import Shown
from shared.events.state import Aggregation, Reset


class RateShown(Shown):
    version: int
    units: int
    block: int
    effective_from: datetime


class MeterOfProduct(Shown):
    meter: str
    name: str
    aggregation: Aggregation
    reset: Reset
    rates: list[RateShown]


class PermissionOfProduct(Shown):
    id: str
    category: str
    description: str


class RoleTemplateShown(Shown):
    role: str
    name: str
    summary: str
    permissions: list[str]


class Product(Commanded):
    id: str
    name: str
    sources: list[str]
    meters: list[MeterOfProduct]
    retired_at: datetime | None
    permissions: list[PermissionOfProduct]
    roles: list[RoleTemplateShown]
    roles_version: int
    version: int


class Products(Shown):
    items: list[Product]
    next_cursor: str | None


class Meters(Shown):
    items: list[MeterOfProduct]
    next_cursor: str | None = None


class RateOfMeter(RateShown):
    meter: str


class Rates(Shown):
    items: list[RateOfMeter]
    next_cursor: str | None = None
