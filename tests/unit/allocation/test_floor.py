"""The floor of an allocation: what a product has consumed already."""

from datetime import timedelta

import pytest

from services.allocation.domain.floor import Consumption, Measured, consumption_at, is_behind
from shared.events.commands.plans import SeenConsumption
from shared.events.ids import ProductId
from shared.events.state import Term
from tests.support.builders.subscriptions import END, START, TICK, subscription

STATE = subscription().state
WINDOW = timedelta(days=15)
SCAN = ProductId("scan")


def measured(window: int, level: int, burned_down: int = 0, revision: int = 1) -> Measured:
    start = START + window * WINDOW
    return Measured(SCAN, start, start + WINDOW, revision, level, burned_down)


def test_the_floor_is_the_larger_of_the_current_and_the_last_window() -> None:
    rows = [measured(0, 500), measured(1, 300), measured(2, 200)]
    during = START + 2 * WINDOW
    assert consumption_at(rows, STATE, during) == Consumption(level=200, last_level=300)
    assert consumption_at(rows, STATE, during).floor == 300
    assert consumption_at(rows, STATE, during - TICK).floor == 500
    assert consumption_at(rows, STATE, during).consumed == 200


def test_the_floor_is_the_last_windows_when_the_new_one_has_no_usage() -> None:
    assert consumption_at([measured(0, 500)], STATE, START + WINDOW).floor == 500
    assert consumption_at([measured(0, 500)], STATE, START + 2 * WINDOW).floor == 0


def test_the_burned_down_amount_is_that_of_the_newest_window() -> None:
    rows = [measured(0, 5, burned_down=40), measured(1, 0, burned_down=70)]
    assert consumption_at(rows, STATE, START + 9 * WINDOW) == Consumption(burned_down=70)
    assert consumption_at(rows, STATE, START + WINDOW).floor == 75
    assert consumption_at(rows, STATE, START).floor == 45


def test_a_window_that_has_not_begun_does_not_count() -> None:
    assert consumption_at([measured(1, 900, burned_down=900)], STATE, START) == Consumption()


@pytest.mark.parametrize(
    ("window", "revision", "behind"), [(1, 3, False), (1, 4, True), (2, 1, True), (0, 99, False), (1, 1, False)]
)
def test_stored_consumption_is_behind_only_in_the_windows_that_count(window: int, revision: int, behind: bool) -> None:
    seen = SeenConsumption(product=SCAN, window_start=START + window * WINDOW, revision=revision)
    assert is_behind([seen], [measured(1, 5, revision=3)], STATE, START + 2 * WINDOW) is behind


def test_the_burned_down_amount_is_0_when_a_new_term_begins() -> None:
    terms = (Term(start=START, end=END), Term(start=END, end=END + timedelta(days=365)))
    renewed = STATE.model_copy(update={"terms": terms})
    last = renewed.calendar.window_at(END - TICK)
    rows = [Measured(SCAN, last.start, last.end, 1, 30, 70)]
    assert consumption_at(rows, renewed, END - TICK) == Consumption(level=30, burned_down=70)
    assert consumption_at(rows, renewed, END) == Consumption(last_level=30)
