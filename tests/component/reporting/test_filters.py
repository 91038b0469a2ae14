"""Filters and limits: a filter by an unknown value is refused with its name."""

import asyncio
from typing import Any

import pytest

from shared.events.refusals import Refusal
from tests.conftest import MakeDatabase
from tests.support.builders.published import PRIMARY, STRANGER, account, created, product, team
from tests.support.drivers.reporting import ReportingDriver, reporting
from tests.support.servers.token_issuer import Issuer

USAGE = "/v1/subscriptions/sub-1/usage"
LATER, EARLIER = "2026-11-20T00:00:00Z", "2026-11-10T00:00:00Z"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/audit?action=nonsense", "action"),
        ("/v1/audit?subscription=No Such", "subscription"),
        (f"/v1/audit?from={LATER}&to={EARLIER}", "to"),
        (f"/v1/audit?from={LATER}&to={LATER}", "to"),
        ("/v1/audit?from=1764000000", "from"),
        ("/v1/audit?from=2026-11-10T00:00:00+01:00", "from"),
        (f"/v1/usage/reconciliation?from={LATER}&to={EARLIER}", "to"),
        ("/v1/usage/reconciliation?from=2026-11-20&to=2026-11-10", "to"),
        ("/v1/usage/reconciliation?from=20000", "from"),
        ("/v1/usage/quarantine?reason=nonsense", "reason"),
        (f"/v1/usage/quarantine?from={LATER}&to={EARLIER}", "to"),
        ("/v1/usage/quarantine/counts?reason=nonsense", "reason"),
        (f"{USAGE}?tz=Mars/Olympus", "tz"),
        (f"{USAGE}?product=nonsense", "product"),
        (f"{USAGE}?from=2020-01-01", "from"),
        (f"{USAGE}?from=2020-01-01T00:00:00Z", "from"),
        (f"{USAGE}?to=2020-01-01T00:00:00Z", "to"),
        (f"{USAGE}?from={LATER}&to={EARLIER}", "to"),
        ("/v1/subscriptions/sub-1/allocations?product=nonsense", "product"),
        ("/v1/ingest-keys?product=nonsense", "product"),
        ("/v1/accounts/acme/roles?product=nonsense", "product"),
    ],
)
async def test_filter_is_refused_when_its_value_does_not_exist(driver: ReportingDriver, path: str, field: str) -> None:
    answer = await driver.ask("GET", path)
    assert (answer.status_code, next(one["field"].split(".")[0] for one in answer.json()["errors"])) == (422, field)
    if "+" in path:
        assert "%2B" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/audit?action=purchase-lot",
        "/v1/audit?action=preview-plan&subscription=sub-1",
        "/v1/audit?action=unitpool.alerts.add-channel.v1",
        f"/v1/audit?from={EARLIER}&to={LATER}",
        "/v1/usage/reconciliation?from=2026-11-10&to=2026-11-10",
        "/v1/usage/quarantine?reason=identity_conflict",
        "/v1/usage/quarantine?reason=before_start",
        f"{USAGE}?product=scan",
        "/v1/audit?from=2026-11-10T00:00:00%2B01:00",
    ],
)
async def test_filter_is_accepted_when_its_value_exists(driver: ReportingDriver, path: str) -> None:
    await driver.get(path)


async def test_audit_of_a_subscription_is_refused_without_the_permission(driver: ReportingDriver) -> None:
    assert (await driver.ask("GET", "/v1/audit?subscription=sub-1", PRIMARY)).status_code == 200
    assert (await driver.ask("GET", "/v1/audit?subscription=sub-2", PRIMARY)).status_code == 404
    assert (await driver.ask("GET", "/v1/audit?subscription=sub-1", STRANGER)).status_code == 403


@pytest.mark.parametrize(
    "body",
    [{"filter": {}}, {"filter": {"reason": None}}, {"filter": {"reason": "nonsense"}}, {},
     {"filter": {"from": LATER, "to": EARLIER}}, {"filter": {"from": 1764000000}}],
)  # fmt: skip
async def test_replay_is_refused_when_its_body_selects_nothing(driver: ReportingDriver, body: object) -> None:
    assert (await driver.ask("POST", "/v1/usage/quarantine/replay", json=body)).status_code == 422


async def test_time_is_refused_when_it_is_a_number(driver: ReportingDriver) -> None:
    contact = {"email": PRIMARY, "name": "P"}
    body = {"account": "acme", "name": "A", "model": "flex", "primary_contact": contact, "end": "2027-01-01T00:00:00Z"}
    for start in (1764000000000, 1764000000, "1764000000", 1.5):
        answer = await driver.ask("POST", "/v1/subscriptions", json={**body, "start": start})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "start")
    rate = {"meter": "host", "units": 1, "block": 1, "effective_from": 1764000000}
    answer = await driver.ask("POST", "/v1/catalogue/products/scan/rates", json=rate)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "effective_from")


async def test_limits_apply_to_each_person_and_address_separately(
    database: MakeDatabase, shared_issuer: Issuer
) -> None:
    limits: dict[str, Any] = {"writes_per_minute": 3, "failed_sign_ins_per_minute": 5, "command_wait_seconds": 0}
    async with reporting(await database("reporting"), shared_issuer, **limits) as driver:
        await driver.apply(account(), product(), *team(), created())
        policy = "/v1/subscriptions/sub-1/products/scan/policy"
        statuses = [(await driver.ask("PUT", policy, PRIMARY, json={"overage": "hard"})).status_code for _ in range(5)]
        assert statuses == [202, 202, 202, 429, 429]
        refused = await driver.ask("PUT", policy, PRIMARY, json={"overage": "hard"})
        assert (refused.json()["code"], refused.headers["retry-after"].isdigit()) == ("too_many_requests", True)
        assert (await driver.ask("PUT", policy, json={"overage": "hard"})).status_code == 202, (
            "another person has a limit of their own"
        )

        bad = {"authorization": "Bearer x.y.z"}
        failed = [(await driver.http.get("/v1/me", headers=bad)).status_code for _ in range(7)]
        assert failed == [401] * 5 + [429] * 2
        assert (await driver.ask("GET", "/v1/me", PRIMARY)).status_code == 200, "valid tokens are not limited"


async def test_writes_of_a_person_are_refused_when_too_many_were_denied(
    database: MakeDatabase, shared_issuer: Issuer
) -> None:
    async with reporting(await database("reporting"), shared_issuer, denied_writes_per_minute=2) as driver:
        await driver.apply(account(), product(), *team(), created())
        policy = "/v1/subscriptions/sub-1/products/scan/policy"
        refusal = Refusal(code="forbidden", message="Only the primary contact may.")
        for number in range(2):
            answering = asyncio.create_task(driver.ask("PUT", policy, PRIMARY, json={"overage": "hard"}))
            sent = await driver.sent(number + 1)
            await driver.decide(sent[-1].command, refusal=refusal)
            assert (await answering).status_code == 403
        answer = await driver.ask("PUT", policy, PRIMARY, json={"overage": "hard"})
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
        assert len(await driver.sent()) == 2, "nothing was sent for it"
        assert (await driver.ask("GET", "/v1/me", PRIMARY)).status_code == 200
        other = asyncio.create_task(driver.ask("PUT", policy, json={"overage": "hard"}))
        await driver.decide((await driver.sent(3))[-1].command)
        assert (await other).status_code == 200


async def test_vendor_role_follows_the_newest_token(driver: ReportingDriver) -> None:
    old, no, new = (
        driver.issuer.token("vera@unitpool.example", vendor=vendor, iat=at)
        for vendor, at in ((True, 1_000_000), (False, 1_000_100), (True, 1_000_200))
    )

    async def is_vendor(token: str) -> bool:
        answer = await driver.http.get("/v1/me", headers={"authorization": f"Bearer {token}"})
        return bool(answer.json()["vendor"])

    assert await is_vendor(old)
    assert not await is_vendor(no)
    assert not await is_vendor(old), "an older word"
    assert await is_vendor(new)
    assert not await is_vendor(no), "the token itself denies it"
    assert await is_vendor(new)
