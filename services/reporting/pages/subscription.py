"""The whole page of one subscription, from what the API's reads give."""

from collections.abc import Iterable, Mapping, Set
from datetime import datetime
from typing import Any

from services.reporting.pages.alerts import present_alerts
from services.reporting.pages.plan import Draft, present_plan
from services.reporting.pages.pool import Overview, present_head, present_pool
from services.reporting.pages.products import present_products
from services.reporting.pages.view import SubscriptionView

ALLOCATE, ACKNOWLEDGE = "allocate", "acknowledge_alerts"
"""Permissions of ``GET /v1/me`` that show a control."""


def present(
    overview: Overview,
    alerts: Iterable[Mapping[str, Any]],
    *,
    may: Set[str],
    now: datetime,
    others: Iterable[Mapping[str, Any]] = (),
    draft: Draft | None = None,
) -> SubscriptionView:
    """``may`` are the person's permissions here. ``others`` are all their subscriptions."""
    bar, figures = present_pool(overview)
    names = {product["product"]: product["name"] for product in overview["products"]}
    return SubscriptionView(
        id=overview["id"],
        head=present_head(overview, now),
        pool=bar,
        figures=figures,
        products=present_products(overview, now),
        alerts=present_alerts(alerts, names, now),
        plan=present_plan(overview, now, may_allocate=ALLOCATE in may, draft=draft),
        may_acknowledge=ACKNOWLEDGE in may,
        others=tuple((one["id"], one["name"]) for one in others if one["id"] != overview["id"]),
    )
