"""Consumption within the headroom: alerts equal those of assessing everything."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alerts.domain.crossing import Level, crossing_free_range, step
from services.alerts.domain.headroom import Headroom, part_now, update_within
from services.alerts.domain.measures import Reading
from services.alerts.domain.rules import DEFAULT_RULES
from services.alerts.domain.watch import Assessment, Watch, assess, follow, update_reading
from shared.events.ids import ProductId
from tests.support.builders.alerts import (
    ACME,
    GUARD,
    NAMES,
    NOW,
    SCAN,
    START,
    WINDOW,
    WatchDriver,
    raised_rules,
    subscription,
)

RULES = st.sampled_from(list(DEFAULT_RULES.values()))
STRANGER = ProductId("risk-hub")


def _reading(consumed: int, revision: int = 1, product: ProductId = SCAN, **changes: Any) -> Reading:
    return Reading(product, changes.get("start", START), revision, consumed, changes.get("burned_down", 0))


def _within(driver: WatchDriver, *news: Reading, now: Any = NOW) -> dict[Any, Any] | None:
    taken = update_within(driver.watch.headroom, driver.watch.readings, news, now)
    return None if taken is None else dict(taken)


@given(RULES, st.lists(st.integers(0, 3000), max_size=5), st.integers(0, 2000), st.integers(0, 3000))
def test_a_level_changes_only_when_consumption_reaches_a_bound(
    rule: Any, before: list[int], whole: int, part: int
) -> None:
    level = Level()
    for value in before:
        level = step(level, value, whole, rule.thresholds).level
    above, below = crossing_free_range(level.passed, whole, rule.thresholds)
    moved = step(level, part, whole, rule.thresholds)
    assert (moved.crossed is None and moved.level.passed == level.passed) is (above < part < below)


def test_a_snapshot_is_saved_without_assessment_when_within_the_headroom() -> None:
    driver = WatchDriver(subscription())
    taken = _within(driver, _reading(700, 1), _reading(799, 2))
    assert taken == {(SCAN, START): _reading(799, 2)}


@pytest.mark.parametrize("consumed", [800, 900, 100_000])
def test_a_snapshot_is_assessed_when_outside_the_headroom(consumed: int) -> None:
    assert _within(WatchDriver(subscription()), _reading(consumed)) is None


def test_a_crossing_is_assessed_when_a_later_snapshot_is_back_within_the_headroom() -> None:
    assert _within(WatchDriver(subscription()), _reading(700, 1), _reading(850, 2), _reading(700, 3)) is None


def test_a_snapshot_is_assessed_when_it_rearms_a_threshold() -> None:
    driver = WatchDriver(subscription())
    driver.consume(850, revision=1)
    assert _within(driver, _reading(751, 2)) is not None
    assert _within(driver, _reading(750, 2)) is None


def test_a_snapshot_is_assessed_when_only_the_pool_crosses_a_threshold() -> None:
    driver = WatchDriver(subscription(purchased=1000, scan=1000))
    driver.consume(390, GUARD)
    assert _within(driver, _reading(409)) is not None
    assert _within(driver, _reading(410)) is None


def test_an_equal_or_older_revision_changes_nothing() -> None:
    driver = WatchDriver(subscription())
    driver.consume(700, revision=5)
    taken = update_within(driver.watch.headroom, driver.watch.readings, [_reading(900, 5), _reading(950, 4)], NOW)
    assert taken is driver.watch.readings
    assert update_reading(driver.watch, _reading(900, 5)) is driver.watch


def test_there_is_no_headroom_when_a_product_has_no_allocation() -> None:
    assert _within(WatchDriver(subscription(scan=0)), _reading(1)) is None


def test_a_reading_is_saved_when_its_product_is_not_subscribed() -> None:
    driver = WatchDriver(subscription())
    assert _within(driver, _reading(10_000, product=STRANGER)) == {
        (STRANGER, START): _reading(10_000, product=STRANGER)
    }
    assert raised_rules(driver.consume(10_000, STRANGER)) == []


def test_a_snapshot_is_assessed_when_the_headroom_has_expired() -> None:
    driver = WatchDriver(subscription())
    assert _within(driver, _reading(1), now=START + WINDOW - timedelta(seconds=1)) is not None
    assert _within(driver, _reading(1), now=START + WINDOW) is None


def test_a_snapshot_is_assessed_when_the_rules_have_changed() -> None:
    driver = WatchDriver(subscription())
    assert driver.watch.headroom is not None
    other = msgspec.structs.replace(driver.watch.headroom, rules=1)
    assert update_within(other, driver.watch.readings, [_reading(1)], NOW) is None
    assert update_within(None, {}, [_reading(1)], NOW) is None


def test_a_closed_window_is_saved_only_when_it_is_the_last_one() -> None:
    driver = WatchDriver(subscription())
    driver.consume(100, now=NOW)
    driver.assess_at(NOW + 2 * WINDOW)
    now = NOW + 2 * WINDOW
    last, older = _reading(500, 7, start=START + WINDOW), _reading(500, 8, start=START - WINDOW)
    taken = _within(driver, last, older, now=now)
    assert taken == {(SCAN, START + WINDOW): last}


def test_a_late_burn_down_is_assessed_when_it_changes_the_opening_value() -> None:
    driver = WatchDriver(subscription())
    driver.assess_at(NOW + WINDOW)
    late = _reading(450, 7, GUARD, burned_down=450)
    assert _within(driver, late, now=NOW + WINDOW) is None
    driver.consume(10, GUARD, burned_down=10, now=NOW + WINDOW)
    assert _within(driver, late, now=NOW + WINDOW) is not None


def test_present_consumption_is_known_when_nothing_was_assessed() -> None:
    driver = WatchDriver(subscription())
    driver.consume(700)
    headroom = driver.watch.headroom
    assert headroom is not None
    taken = _within(driver, _reading(720, 8))
    assert taken is not None
    assert part_now(headroom, taken, "product_consumption", SCAN) == 720
    assert part_now(headroom, taken, "product_consumption", GUARD) == 0
    assert part_now(headroom, taken, "pool_consumption", None) == 720
    assert part_now(headroom, taken, "product_consumption", STRANGER) is None
    assert part_now(headroom, taken, "pool_allocation", None) is None


def test_headroom_is_equal_when_read_back() -> None:
    headroom = WatchDriver(subscription()).watch.headroom
    assert msgspec.json.decode(msgspec.json.encode(headroom), type=Headroom) == headroom


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("consumes"),
            st.integers(0, 1300),
            st.sampled_from([SCAN, GUARD, STRANGER]),
            st.integers(-2, 1),
            st.integers(0, 40),
        ),
        st.tuples(st.just("allocates"), st.integers(0, 2000), st.integers(900, 2500)),
        st.tuples(st.just("waits"), st.integers(1, 400)),
        st.tuples(st.just("changes"), st.sampled_from(["active", "cancelled", "grace"])),
    ),
    max_size=40,
)


@given(STEPS)
def test_alerts_equal_those_of_assessing_every_snapshot(steps: list[tuple[Any, ...]]) -> None:
    now, version, revision = NOW, 1, 0
    thrifty = assess(Watch(ACME, subscription()), now, NAMES).watch
    thorough = thrifty
    for what, *of in steps:
        if what == "waits":
            now += timedelta(hours=of[0])
            pair = assess(thrifty, now, NAMES), assess(thorough, now, NAMES)
        elif what == "consumes":
            revision += 1
            start = START + (now - START) // WINDOW * WINDOW + of[2] * WINDOW
            news = Reading(of[1], start, max(1, revision - of[3] % 3), of[0], of[0] * (of[3] % 2))
            pair = follow(thrifty, news, now, NAMES), _assessed(thorough, news, now)
        else:
            version += 1
            changes = {"scan": of[0], "purchased": of[1]} if what == "allocates" else {"state": of[0]}
            state = subscription(version, **changes)
            pair = follow(thrifty, state, now, NAMES), follow(thorough, state, now, NAMES)
        assert pair[0].raised == pair[1].raised
        assert pair[0].resolved == pair[1].resolved
        thrifty, thorough = pair[0].watch, pair[1].watch
        assert thrifty.readings == thorough.readings
        assert _passed(thrifty) == _passed(thorough)


def _assessed(watch: Watch, news: Reading, now: Any) -> Assessment:
    taken = update_reading(replace(watch, headroom=None), news)
    return assess(taken, now, NAMES)


def _passed(watch: Watch) -> dict[Any, tuple[int, int]]:
    return {key: (level.passed, level.raised) for key, level in watch.levels.items()}
