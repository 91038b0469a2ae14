"""An account with two subscriptions: members of one do not see the other.

Nor do they see its people.
"""

from typing import Any

import pytest

from shared.events.allocation import RoleChanged
from shared.events.outcomes import AuditRecord, DecisionRecorded
from shared.events.state import GrantedTo, RoleState
from tests.support.builders.people import person_id
from tests.support.builders.published import (
    AUDITOR,
    NOW,
    PRIMARY,
    USERADMIN,
    VENDOR,
    VIEWER,
    account,
    created,
    person,
    product,
    subscription,
)
from tests.support.drivers.reporting import ReportingDriver

SECOND, THERE, NEW = "paul@acme.example", "tom@acme.example", "new@acme.example"
PEOPLE, ROLE = "/v1/accounts/acme/people", "/v1/accounts/acme/roles/scan-reader"
HERE = {PRIMARY, VIEWER, AUDITOR, USERADMIN, NEW}


def decided(object: str, actor: str, **states: Any) -> DecisionRecorded:
    """Build a decision about the account."""
    values = {"at": NOW, "actor": actor, "action": "set-role-member", "object": object, "account": "acme"}
    return DecisionRecorded(record=AuditRecord.model_validate({**values, "outcome": "allowed", **states}))


@pytest.fixture
async def two(empty: ReportingDriver) -> ReportingDriver:
    """Apply Paula's and Paul's subscription.

    Victor is in both, Tom in Paul's only, Nora in none.
    """
    second = subscription(
        "sub-2",
        primary_contact=person_id(SECOND),
        grants=[
            GrantedTo(person=person_id(VIEWER), grant="allocator"),
            GrantedTo(person=person_id(THERE), grant="useradmin"),
        ],
    )
    emails = [PRIMARY, SECOND, VIEWER, AUDITOR, USERADMIN, THERE, NEW]
    members = tuple(person_id(one) for one in (THERE, VIEWER, NEW))
    role = RoleState.model_validate(
        {"account": "acme", "role": "scan-reader", "product": "scan", "name": "Reader", "is_default": False}
        | {"customised": ["page.use"], "members": members, "version": 1}
    )
    await empty.apply(account(), product(), created(), created(second), RoleChanged(role=role))
    for email in emails:
        await empty.apply(person(email))
    role_after = {"after": {"role": "scan-reader", "members": list(members)}}
    await empty.apply(
        decided(f"account/acme/person/{person_id(THERE)}", SECOND),
        decided(f"account/acme/person/{person_id(NEW)}", PRIMARY),
        decided("account/acme/role/scan-reader", SECOND, before=None, **role_after),
    )
    return empty


async def listed(driver: ReportingDriver, who: str) -> dict[str, list[str]]:
    """List visible people with the subscriptions named for each."""
    found: dict[str, list[str]] = {}
    path: str | None = f"{PEOPLE}?limit=2"
    while path:
        page = await driver.get(path, who)
        for one in page["items"]:
            found[one["email"]] = [given["subscription"] for given in one["subscriptions"]]
        path = page["next_cursor"] and f"{PEOPLE}?limit=2&cursor={page['next_cursor']}"
    return found


@pytest.mark.parametrize("who", [PRIMARY, AUDITOR, USERADMIN])
async def test_people_of_invisible_subscriptions_are_hidden(two: ReportingDriver, who: str) -> None:
    seen = await listed(two, who)
    assert set(seen) == HERE
    assert (seen[VIEWER], seen[NEW]) == (["sub-1"], [])
    for hidden in (SECOND, THERE):
        assert (await two.ask("GET", f"{PEOPLE}/{hidden}", who)).status_code == 404
    assert "sub-2" not in (await two.ask("GET", f"{PEOPLE}/{VIEWER}", who)).text


async def test_people_are_listed_for_their_own_contact_and_for_the_vendor(two: ReportingDriver) -> None:
    assert set(await listed(two, THERE)) == {SECOND, VIEWER, THERE, NEW}
    everybody = await listed(two, VENDOR)
    assert set(everybody) == HERE | {SECOND, THERE}
    assert everybody[VIEWER] == ["sub-1", "sub-2"]


async def test_hidden_people_are_missing_from_roles_in_every_view(two: ReportingDriver) -> None:
    views = [ROLE, f"{ROLE}/members", "/v1/accounts/acme/roles", "/v1/applications/scan?account=acme"]
    for path in [*views, "/v1/applications/scan"]:
        answer = await two.ask("GET", path, AUDITOR)
        assert answer.status_code == 200
        assert THERE not in answer.text, path
        assert THERE in (await two.ask("GET", path, VENDOR)).text or "applications" in path
    assert [one["email"] for one in await items(two, f"{ROLE}/members", AUDITOR)] == [NEW, VIEWER]


async def test_hidden_people_are_missing_from_the_audit_log(two: ReportingDriver) -> None:
    mine = await items(two, "/v1/audit", AUDITOR)
    assert {one["object"] for one in mine} == {f"account/acme/person/{NEW}", "account/acme/role/scan-reader"}
    (role,) = (one for one in mine if "role" in one["object"])
    assert (role["before"], role["after"]["members"]) == (None, [VIEWER, NEW])
    assert len(await items(two, "/v1/audit", VENDOR)) == 3


async def items(driver: ReportingDriver, path: str, who: str) -> list[dict[str, Any]]:
    """List the items of a path."""
    found: list[dict[str, Any]] = (await driver.get(path, who))["items"]
    return found
