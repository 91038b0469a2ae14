from datetime import timedelta
from decimal import Decimal

from services.reporting.domain.usage import UsageItem
from services.reporting.pages.usage import present_usage
from tests.support.builders.overviews import NOW, overview, product


def item(product_id: str, meter: str, consumed: int, windows_ago: int = 0) -> UsageItem:
    start = NOW.replace(hour=0, minute=0) - timedelta(days=15 * windows_ago)
    return UsageItem(
        product=product_id,
        meter=meter,
        start=start,
        end=start + timedelta(days=15),
        aggregate=Decimal(consumed),
        consumed=consumed,
        provisional=windows_ago == 0,
        revision=1,
        term_to_date=None,
    )


def test_meters_of_a_product_share_a_cell_and_windows_are_in_order_of_time() -> None:
    body = overview(product("Risk Hub"), product("Api Guard"))
    items = [item("risk-hub", "asset", 1200), item("api-guard", "call", 7, 1), item("api-guard", "key", 3, 1)]
    usage = present_usage(body, items)
    assert [column.name for column in usage.columns] == ["Api Guard", "Risk Hub"]
    assert [(row.plain, row.total, row.provisional) for row in usage.rows] == [
        ((10, 0), "10", False),
        ((0, 1200), "1,200", True),
    ]
    assert usage.rows[1].cells == ("0", "1,200")


def test_product_has_a_column_when_it_is_no_longer_subscribed() -> None:
    assert present_usage(overview(), [item("gone", "host", 5)]).columns[0].name == "gone"


def test_table_is_empty_when_nothing_was_consumed() -> None:
    assert present_usage(overview(product()), []).rows == ()
