from datetime import timedelta

import pytest

from services.reporting.domain.overview import Period
from services.reporting.pages.bars import pool_bar, product_bar
from services.reporting.pages.pool import present_head, present_pool, sentence
from tests.support.builders.overviews import NOW, overview, product


def test_sentence_counts_products_that_need_attention_and_free_units() -> None:
    body = overview(
        product(),
        product("Risk Hub", 100, 97, utilisation_class="near"),
        product("Patch Flow", 100, 120, utilisation_class="over"),
    )
    assert sentence(body) == "2 of 3 products need attention; 8,800 units are still free to allocate."


def test_sentence_says_that_all_products_are_within_their_allocations() -> None:
    assert sentence(overview(product(), product("Risk Hub"), purchased=2000)) == (
        "All 2 products are within their allocations; everything purchased is allocated."
    )
    assert sentence(overview(product(), purchased=1001)).endswith("1 unit is still free to allocate.")


def test_sentence_counts_a_restricted_product() -> None:
    assert sentence(overview(product(restricted=True))).startswith("1 of 1 product needs attention;")


def test_sentence_begins_with_the_most_urgent_state() -> None:
    assert sentence(overview(product(), purchased=0)) == "No units have been purchased yet."
    assert sentence(overview(product(), purchased=400)) == (
        "600 units more are allocated than purchased; lower some allocations."
    )
    assert sentence(overview()) == "No product yet: 10,000 units are waiting to be allocated."
    assert sentence(overview(product(), state="expired")) == "The subscription has expired."


def test_sentence_uses_the_vendors_word_for_units() -> None:
    assert "9,000 credits are still free" in sentence(overview(product(), unit_label="Credits"))


def test_head_shows_the_days_left_in_the_term() -> None:
    head = present_head(overview(product()), NOW)
    assert head.term == "Ends 1 April 2027, 128 days left"
    ended = overview(product(), term=Period(NOW, NOW - timedelta(days=3), 0), state="grace")
    assert present_head(ended, NOW).term == "Ended 21 November 2026"


def test_head_is_as_of_now_when_there_is_no_usage() -> None:
    assert present_head(overview(product(), as_of=None), NOW).as_of == "10:15 UTC"


def test_last_of_five_figures_is_over_allocation_if_there_is_any() -> None:
    _, figures = present_pool(overview(product(), purchased=5000))
    assert [(one.name, one.value) for one in figures] == [
        ("Purchased", "5,000"),
        ("Allocated", "1,000"),
        ("Consumed", "500"),
        ("Unused", "500"),
        ("Unallocated", "4,000"),
    ]
    _, over = present_pool(overview(product(), purchased=400))
    assert (over[4].name, over[4].value, over[4].alarming) == ("Over-allocated", "600", True)


@pytest.mark.parametrize(
    ("purchased", "allocated", "consumed", "kinds"),
    [
        (100, 80, 60, ["consumed", "allocated", "free"]),
        (100, 0, 0, ["free"]),
        (100, 100, 100, ["consumed"]),
        (100, 150, 60, ["consumed", "allocated", "overhang"]),
        (100, 150, 120, ["consumed", "over", "overhang"]),
        (100, 50, 70, ["consumed", "over", "free"]),
        (100, 50, 130, ["consumed", "over", "over"]),
        (0, 0, 0, []),
    ],
)
def test_pool_bar_shows_each_part_once(purchased: int, allocated: int, consumed: int, kinds: list[str]) -> None:
    bar = pool_bar(purchased, allocated, consumed, "")
    assert [piece.kind for piece in bar.segments] == kinds
    ends = [float(one.start.rstrip("%")) + float(one.width.rstrip("%")) for one in bar.segments]
    starts = [float(one.start.rstrip("%")) for one in bar.segments]
    assert starts[1:] == pytest.approx(ends[:-1], abs=0.01)
    assert all(end <= 100.01 for end in ends)


def test_product_bar_draws_overage_past_its_end_and_clips_it_when_far() -> None:
    bar = product_bar(900, 990, "")
    assert [(one.kind, one.start, one.width) for one in bar.segments] == [
        ("consumed", "0%", "80%"),
        ("over", "80%", "8%"),
    ]
    assert bar.ticks == ("64%", "72%", "80%")
    assert not bar.clipped
    assert product_bar(900, 9000, "").clipped
    assert product_bar(0, 5, "").clipped
    assert product_bar(0, 0, "").segments == ()
