"""The view of the whole page of one subscription."""

from services.reporting.domain.permissions import VIEW
from services.reporting.pages.alerts import present_alerts
from services.reporting.pages.plan import Draft, present_plan
from services.reporting.pages.pool import present_head, present_pool
from services.reporting.pages.products import present_products
from services.reporting.pages.view import SubscriptionView
from services.reporting.queries.page_context import PageContext

ALLOCATE, ACKNOWLEDGE = "allocate", "acknowledge_alerts"
"""Permissions that show a control."""


def present_subscription(context: PageContext, draft: Draft | None = None) -> SubscriptionView:
    """Present the page, with a draft of the plan, if any."""
    overview, now = context.overview, context.now
    bar, figures = present_pool(overview)
    names = {product.product: product.name for product in overview.products}
    mine = context.me.subscriptions
    return SubscriptionView(
        id=overview.id,
        head=present_head(overview, now),
        pool=bar,
        figures=figures,
        products=present_products(overview, now),
        alerts=present_alerts(context.alerts, names, now),
        plan=present_plan(overview, now, may_allocate=ALLOCATE in context.permissions, draft=draft),
        may_acknowledge=ACKNOWLEDGE in context.permissions,
        others=tuple((one.id, one.name) for one in mine if one.id != overview.id and VIEW in one.permissions),
    )
