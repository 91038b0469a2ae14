"""The current value of an alert."""

from dataclasses import replace

import pytest

from services.reporting.domain.alerts import value_now
from tests.support.builders.overviews import overview, product
from tests.support.builders.published import alert

OVERVIEW = replace(overview(product("Scan", allocated=400, consumed=350)), purchased=1400, allocated=1500, consumed=700)


@pytest.mark.parametrize(
    ("rule", "scope", "product", "percent"),
    [
        ("pool_allocation", "pool", None, 107.1),
        ("pool_over_allocated", "pool", None, 107.1),
        ("pool_consumption", "pool", None, 50.0),
        ("product_consumption", "product", "scan", 87.5),
        ("product_consumption", "product", "gone", None),
    ],
)
def test_current_value_is_of_the_share_that_the_rule_watches(
    rule: str, scope: str, product: str | None, percent: float | None
) -> None:
    state = alert(rule=rule, scope=scope, product=product).alert
    assert value_now(state, OVERVIEW) == percent
