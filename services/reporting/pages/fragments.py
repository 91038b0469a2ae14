"""The fragments of the page: its changing parts, by the id of their element.

They are rendered once per request. The whole page contains them; the live stream sends those that differ.
"""

import hashlib
from collections.abc import Mapping

from jinja2 import Environment

from services.reporting.pages.view import Plan, SubscriptionView

Fragments = Mapping[str, str]
_NO_TOKEN = 'name="csrf" value=""'  # noqa: S105  # the place of a token


def render_fragments(environment: Environment, view: SubscriptionView) -> dict[str, str]:
    """Render every fragment. Their forms have no token yet: see ``with_token``."""
    write = environment.get_template("fragments.html").module
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
        found |= render_plan_fragments(environment, view.plan)
    found["alerts"] = environment.get_template("alerts.html").render(view=view, csrf="", alert_error=None).strip()
    return found


def render_plan_fragments(environment: Environment, plan: Plan) -> dict[str, str]:
    """Render the fragments inside the plan editor's form."""
    write = environment.get_template("fragments.html").module
    hints = {f"hint-{field.product}": str(write.hint(field)).strip() for field in plan.fields}  # type: ignore[attr-defined]
    return {"plan-numbers": str(write.plan_numbers(plan)).strip(), **hints}  # type: ignore[attr-defined]


def digest(fragments: Fragments) -> str:
    """Hash all fragments, to compare the page with a later rendering."""
    text = "\n".join(f"{element}\t{html}" for element, html in sorted(fragments.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_token(html: str, token: str) -> str:
    """Insert a token into the HTML's forms.

    It differs each time, so it is not part of the comparison.
    """
    return html.replace(_NO_TOKEN, f'name="csrf" value="{token}"')


def swaps(before: Fragments, after: Fragments) -> str:
    """Build the htmx out-of-band swaps of the fragments that differ."""
    return "".join(
        f'<div hx-swap-oob="innerHTML:#{element}">{html}</div>'
        for element, html in after.items()
        if before.get(element) != html
    )
