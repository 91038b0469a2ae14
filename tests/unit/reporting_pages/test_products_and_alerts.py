from datetime import timedelta
from decimal import Decimal

from services.reporting.pages.alerts import present_alerts
from services.reporting.pages.products import mark, present_products
from tests.support.builders.overviews import NOW, alert, meter, overview, product


def test_products_that_need_attention_come_first_then_the_largest() -> None:
    body = overview(
        product("Small", 10, 5),
        product("Large", 5000, 3000),
        product("Near", 100, 95, utilisation_class="near"),
        product("Over", 100, 130, utilisation_class="over"),
    )
    assert [row.name for row in present_products(body, NOW)] == ["Over", "Near", "Large", "Small"]


def test_row_shows_the_arithmetic_of_each_meter() -> None:
    body = overview(
        product(
            meters=(
                meter(),
                meter(
                    meter="agentless-vm",
                    aggregate=Decimal("1250.5"),
                    units=2,
                    block=3,
                    consumed=834,
                    aggregation="peak",
                    peak_at=NOW - timedelta(days=1),
                    provisional=False,
                ),
                meter(
                    meter="call",
                    aggregation="sum",
                    reset="term",
                    aggregate=Decimal(1_199_020),
                    block=10_000,
                    consumed=120,
                ),
            )
        )
    )
    lines = present_products(body, NOW)[0].meters
    assert [line.arithmetic for line in lines] == [
        "2,140 hosts \u00d7 1 unit per 1 = 2,140",
        "1,250.5 agentless VMs \u00d7 2 units per 3 = 834",
        "1,199,020 calls \u00d7 1 unit per 10,000 = 120",
    ]
    assert "peak at 23 November, 10:15 UTC" in lines[1].notes
    assert "counts over the whole term" in lines[2].notes


def test_row_shows_its_class_in_words_and_its_use_with_one_decimal() -> None:
    rows = present_products(
        overview(
            product(consumed=964, utilisation_class="near"),
            product("New", allocated=0, consumed=0, utilisation_class=None),
        ),
        NOW,
    )
    assert (rows[0].klass_word, rows[0].utilisation) == ("Near limit", "96.4\u202f%")
    assert (rows[1].klass_word, rows[1].utilisation) == ("Nothing allocated", "\u2013")


def test_row_shows_the_overage_when_a_product_is_over() -> None:
    facts = present_products(overview(product(consumed=1144)), NOW)[0].facts
    assert facts[0][:2] == ("Over by", "144")


def test_mark_of_a_product_is_stable_and_distinct_in_the_demo() -> None:
    demo = [
        "exposure-scan",
        "risk-hub",
        "asset-inventory",
        "surface-watch",
        "patch-flow",
        "policy-audit",
        "web-app-test",
        "api-guard",
        "container-shield",
        "cloud-posture",
        "workload-guard",
        "saas-posture",
        "file-integrity",
        "endpoint-response",
        "certificate-watch",
    ]
    assert len({mark(one) for one in demo}) == len(demo)
    assert mark("risk-hub") == mark("risk-hub")


def test_resolved_alerts_are_left_out_and_acknowledged_ones_come_last() -> None:
    shown = present_alerts(
        [
            alert(id="old", raised_at=NOW - timedelta(days=2)),
            alert(id="seen", state="acknowledged", acknowledged_by="paula@acme.example"),
            alert(id="over", state="resolved"),
            alert(id="new"),
        ],
        {"exposure-scan": "Exposure Scan"},
        NOW,
    )
    assert [card.id for card in shown] == ["new", "old", "seen"]
    assert shown[0].title == "Exposure Scan reached 90\u202f%"
    assert shown[0].value == "90.1\u202f% when raised, 97.3\u202f% now"
    assert shown[2].acknowledged == "paula@acme.example"


def test_alert_of_the_pool_and_of_an_unknown_product_have_titles() -> None:
    pool, unknown = present_alerts([alert(product=None, scope="pool"), alert(product="gone")], {}, NOW)
    assert pool.title == "The pool reached 90\u202f%"
    assert unknown.title == "gone reached 90\u202f%"
