"""Stored rows that this release cannot decode: lists continue without them."""

import pytest
from prometheus_client import REGISTRY

from tests.support.builders.published import account, created, product, subscription
from tests.support.drivers.reporting import ReportingDriver
from tests.support.servers.databases import as_owner, connect


def passed_over(table: str) -> float:
    return REGISTRY.get_sample_value("unitpool_unreadable_rows_total", {"table": table}) or 0


@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize("spoilt", ["a", "b", "c"])
@pytest.mark.parametrize(
    ("table", "path"),
    [
        ("subscriptions", "/v1/subscriptions"),
        ("accounts", "/v1/accounts"),
        ("products", "/v1/catalogue/products"),
    ],
)
async def test_list_continues_when_a_row_cannot_be_decoded(
    empty: ReportingDriver, table: str, path: str, spoilt: str, limit: int
) -> None:
    for name in "abc":
        await empty.apply(account(name), product(name), created(subscription(name, account=name)))
    async with connect(as_owner(empty.runtime.settings.database_url.get_secret_value())) as connection:
        await connection.execute(f"UPDATE {table} SET state = '{{}}' WHERE id = $1", spoilt)  # noqa: S608
    before, found, cursor = passed_over(table), [], ""
    while True:
        body = await empty.get(f"{path}?limit={limit}{cursor}")
        found += [one["id"] for one in body["items"]]
        if body["next_cursor"] is None:
            break
        cursor = f"&cursor={body['next_cursor']}"
    assert found == [name for name in "abc" if name != spoilt]
    assert passed_over(table) > before
