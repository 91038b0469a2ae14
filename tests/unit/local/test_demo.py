"""The demo's data: equal on every call, with all kinds of accounts."""

from datetime import UTC, datetime, timedelta
from itertools import islice

from deploy.local.demo.accounts import BIG_ACCOUNT, BIG_RESOURCES, MONTHS_13, RECENT, demo_accounts
from deploy.local.demo.catalogue import CATALOGUE, PRODUCTS
from deploy.local.demo.live_usage import next_climb
from deploy.local.demo.usage import level_of, usage_of, windows
from deploy.local.people import PEOPLE

TODAY = datetime(2026, 11, 24, tzinfo=UTC)
NOW = TODAY + timedelta(hours=15)


def test_there_are_25_accounts_with_all_scenarios() -> None:
    accounts = list(demo_accounts(TODAY))
    assert len({account.id for account in accounts}) == 25
    scenarios = {account.scenario for account in accounts}
    assert scenarios >= {
        "over-used",
        "under-used",
        "over-allocated",
        "about to expire",
        "rebalanced lately",
        "per product",
    }
    assert accounts == list(demo_accounts(TODAY))
    for account in accounts:
        assert account.allocated <= sum(account.lots)
        assert account.id == BIG_ACCOUNT or account.start <= TODAY - MONTHS_13
        assert account.end > TODAY
    emails = {account.id: account.contact.email for account in accounts}
    assert emails["acme"] == PEOPLE[0].email
    assert emails["globex"] == PEOPLE[-1].email


def test_the_big_account_has_its_resources_without_loaded_history() -> None:
    big = next(account for account in demo_accounts(TODAY) if account.id == BIG_ACCOUNT)
    assert big.start > NOW - RECENT
    share = next(share for share in big.shares if share.product == "asset-inventory")
    count = len(windows(big, NOW))
    assert level_of(share, PRODUCTS[share.product].meters[0], count - 1, count) == BIG_RESOURCES


def test_usage_is_equal_on_every_call_and_within_the_given_times() -> None:
    account = next(iter(demo_accounts(TODAY)))
    since = NOW - timedelta(days=20)
    first = list(usage_of(account, "s", since, NOW))
    assert first == list(usage_of(account, "s", since, NOW))
    assert all(since <= one.at < NOW for one in first)
    everything = {one.value for one in usage_of(account, "s", since - timedelta(days=20), NOW)}
    assert {one.value for one in first} <= everything


def test_the_catalogue_has_15_products_and_all_aggregations() -> None:
    assert len(CATALOGUE) == 15
    assert {meter.aggregation for product in CATALOGUE for meter in product.meters} == {
        "unique",
        "peak",
        "sum",
        "latest",
    }
    assert (PRODUCTS["api-guard"].meters[0].reset, PRODUCTS["api-guard"].meters[0].block) == ("term", 10_000)


def test_the_under_used_account_has_no_product_that_burns_down() -> None:
    account = next(one for one in demo_accounts(TODAY) if one.scenario == "under-used")
    assert not any(PRODUCTS[share.product].burns_down for share in account.shares)
    assert all(share.used_percent < 50 for share in account.shares)


def test_the_main_account_is_just_below_a_threshold() -> None:
    account = next(iter(demo_accounts(TODAY)))
    rows = [
        {"product": s.product, "allocated": s.allocated, "consumed": s.allocated * s.used_percent // 100}
        for s in account.shares
    ]
    climb = next_climb({"products": rows})
    assert climb is not None
    assert climb.resources <= 60


def test_live_usage_has_no_climb_when_every_product_is_beyond_the_last_threshold() -> None:
    assert next_climb({"products": [{"product": "exposure-scan", "allocated": 10, "consumed": 12}]}) is None
    assert next_climb({"products": [{"product": "exposure-scan", "allocated": 0, "consumed": 0}]}) is None


def test_every_person_has_a_distinct_short_name() -> None:
    assert [one.who for one in islice(PEOPLE, 2)] == ["primary", "vendor"]
    assert len({one.who for one in PEOPLE}) == 7
