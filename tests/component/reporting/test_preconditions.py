"""``If-Match`` on the writes of a subscription: only the seen version is changed."""

from typing import Any

from tests.support.builders.published import PRIMARY, VENDOR, VIEWER
from tests.support.drivers.reporting_processes import ReportingProcesses, sell_subscription

STALE = ('"1"', 'W/"{now}"', '"abc"', '"1", "2"', '"{now}0"')
"""Tags that do not match the current version.

They are another version, a weak tag of the current one, a foreign tag, a list without the current one, and the current
one with a digit more.
"""


async def test_every_write_is_refused_when_if_match_has_an_old_version(processes: ReportingProcesses) -> None:
    subscription = await sell_subscription(processes)
    path = f"/v1/subscriptions/{subscription}"
    now = (await processes.ask("GET", path)).headers["etag"].strip('"')
    writes: list[tuple[str, str, Any, str]] = [
        ("PUT", "/products/scan/policy", {"overage": "hard"}, PRIMARY),
        ("POST", "/purchases", {"units": 1, "order_reference": "PO-9"}, VENDOR),
        ("POST", "/products", {"product": "scan"}, PRIMARY),
        ("POST", "/allocations", {"product": "scan", "units": 1}, PRIMARY),
        ("POST", "/rebalances", {"changes": [{"product": "scan", "units": 1}]}, PRIMARY),
        ("POST", "/cancel", {"reason": "why"}, VENDOR),
        ("POST", "/renew", {"end": "2029-01-01T00:00:00Z", "units": 1, "order_reference": "x"}, VENDOR),
        ("POST", "/convert", {"model": "flex"}, VENDOR),
        ("PUT", "/rate-lock", {"locked": True}, VENDOR),
        ("PUT", "/primary-contact", {"email": PRIMARY}, PRIMARY),
        ("PUT", f"/grants/{VIEWER}", {"grants": []}, PRIMARY),
        ("DELETE", f"/grants/{VIEWER}", None, PRIMARY),
        ("DELETE", "/products/hub", None, VENDOR),
        ("POST", "/purchases/some-lot/void", {"reason": "why"}, VENDOR),
    ]
    for method, where, body, who in writes:
        for tag in STALE if where.endswith("/policy") else STALE[:1]:
            headers = {"If-Match": tag.format(now=now)}
            answer = await processes.ask(method, path + where, who, json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (409, "stale_version"), (where, tag, answer.text)
    assert (await processes.ask("GET", path)).headers["etag"] == f'"{now}"'

    for tag in ('"{now}"', 'W/"1" , "1","{now}"', "*"):
        headers = {"If-Match": tag.format(now=now)}
        answer = await processes.ask(
            "PUT", f"{path}/products/scan/policy", PRIMARY, json={"overage": "hard"}, headers=headers
        )
        assert answer.status_code == 200, answer.text
        now = answer.headers["etag"].strip('"')


async def test_if_match_is_refused_when_it_is_invalid_or_unsupported(processes: ReportingProcesses) -> None:
    subscription = await sell_subscription(processes)
    policy = f"/v1/subscriptions/{subscription}/products/scan/policy"
    for tag in ("17", '"1', '"1" "2"', "W/17", "*, *", '"a b"', "", '"1",,x'):
        answer = await processes.ask("PUT", policy, PRIMARY, json={"overage": "hard"}, headers={"If-Match": tag})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "If-Match"), tag
    flex = {"enabled": True, "reason": "x"}
    for name in ("If-Match", "If-None-Match", "If-Unmodified-Since"):
        answer = await processes.ask("PUT", "/v1/accounts/acme/flex", json=flex, headers={name: '"1"'})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name), answer.text
        assert "etag" not in answer.headers
    assert "etag" not in (await processes.ask("PUT", "/v1/accounts/acme/flex", json=flex)).headers
