"""Prices."""

from datetime import datetime
from typing import Literal

from services.reporting.api.answers.shapes import WriteAnswer
from services.reporting.api.fields import AnswerBody


class TierShown(AnswerBody):
    from_units: int
    discount_basis_points: int


class PriceList(WriteAnswer):
    """A price list.

    Money is in integer minor units of ``currency``; ``list_price_minor`` is per unit and year.
    """

    currency: str
    list_price_minor: int
    tiers: list[TierShown]
    version: int


class PriceShown(AnswerBody):
    """A price, with the figures from which it is computed.

    ``total_minor`` is units x ``unit_price_minor`` x ``years`` (an exact fraction), rounded half up once.
    """

    currency: str
    price_list_version: int
    list_price_minor: int
    tier_from_units: int
    discount_basis_points: int
    unit_price_minor: int
    years: str
    total_minor: int
    arithmetic: str


class Quote(PriceShown):
    """A price for units that could be bought.

    ``committed_units`` are already in the term; together with ``units`` they decide the tier. ``kind`` is ``top_up`` of
    the subscription's term, ``renewal`` for a year after its end, or else ``contract``.
    """

    subscription: str | None
    kind: Literal["top_up", "renewal", "contract"]
    units: int
    start: datetime
    end: datetime
    committed_units: int
    cumulative_units: int
    next_tier_from_units: int | None
    list_total_minor: int
    discount_minor: int
