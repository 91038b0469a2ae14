"""The pieces of the page that change while it is open, by the id of the element that each fills."""

import hashlib
from collections.abc import Mapping

from jinja2 import Environment

from services.reporting.pages.view import SubscriptionView

Leaves = Mapping[str, str]


def render_leaves(environment: Environment, view: SubscriptionView, csrf: str) -> dict[str, str]:
    """Every piece, as the templates write it."""
    write = environment.get_template("leaves.html").module
    found: dict[str, str] = {}

    def put(element: str, macro: str, *arguments: object) -> None:
        found[element] = str(getattr(write, macro)(*arguments)).strip()

    put("sentence", "sentence", view)
    put("state", "state", view)
    put("term", "term", view)
    put("as-of", "as_of", view)
    put("pool", "pool", view)
    for number, figure in enumerate(view.figures):
        put(f"figure-{number}", "figure", figure)
    for product in view.products:
        put(f"row-{product.id}", "row", product)
        put(f"inside-{product.id}", "inside", product)
    put("plan-short", "plan_short", view.plan)
    put("plan-status", "plan_status", view.plan)
    if view.plan.editable:
        put("plan-numbers", "plan_numbers", view.plan)
        for field in view.plan.fields:
            put(f"hint-{field.product}", "hint", field)
    found["alerts"] = environment.get_template("alerts.html").render(view=view, csrf=csrf, alert_error=None).strip()
    return found


def digest(leaves: Leaves) -> str:
    """A short mark of what all of them say."""
    text = "\n".join(f"{element}\t{html}" for element, html in sorted(leaves.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def swaps(before: Leaves, after: Leaves) -> str:
    """The pieces that differ, each told (htmx, out of band) which element it fills."""
    return "".join(
        f'<div hx-swap-oob="innerHTML:#{element}">{html}</div>'
        for element, html in after.items()
        if before.get(element) != html
    )
