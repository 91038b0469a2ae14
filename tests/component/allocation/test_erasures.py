"""Erasures of people, through the inbox on a real database."""

from datetime import timedelta
from typing import Any

import pytest

from services.allocation.handlers import erasures
from services.allocation.handlers.erasures import erase_due
from services.allocation.store import people
from shared.events.allocation import ErasureChanged, GrantsChanged, PersonChanged, RoleChanged
from shared.events.commands.accounts import AddPerson, ErasePerson, IntroducePerson, SetRoleMember
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.commands.subscriptions import SetGrants, SetPrimaryContact
from shared.events.erasure import CONFIRM, ErasureState
from shared.events.ids import PersonId
from shared.events.outcomes import SYSTEM
from shared.events.topics import ALLOCATION_PEOPLE_TOPIC
from shared.runtime.delivery.batch_runner import transaction
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.records import Outgoing
from tests.support.builders.people import person_id, written
from tests.support.drivers.allocation import PRIMARY, STRANGER, VENDOR, AllocationDriver, Decision, by_address, command

ACCOUNT, SUBSCRIPTION = "acme-flex-account", "acme-flex"
ALAN, UMA = "alan@acme.example", "uma@acme.example"
REASON = written("asked for it", VENDOR)
WEEK = timedelta(days=7)


@pytest.fixture
async def alan(driver: AllocationDriver) -> PersonId:
    """Add Alan, an allocator and a member of a role, and Uma, the user administrator."""
    await driver.open()
    for email, grant in ((ALAN, "allocator"), (UMA, "useradmin")):
        await driver.sell(AddPerson(account=ACCOUNT, email=email, name=email.partition("@")[0].title()))
        await driver.ask(by_address(SetGrants, subscription=SUBSCRIPTION, email=email, grants=(grant,)))
    await driver.sell(by_address(SetRoleMember, account=ACCOUNT, role="scan-reader", email=ALAN, member=True))
    found = await driver.id_of(ALAN, ACCOUNT)
    assert found is not None
    return found


async def erase(
    driver: AllocationDriver, person: PersonId, by: str = VENDOR, *, account: str | None = ACCOUNT, **more: Any
) -> Decision:
    """Request a person's erasure."""
    payload = ErasePerson.model_validate({"account": account, "person": person, "reason": REASON, **more})
    return await driver.ask(payload, by, vendor=by == VENDOR)


async def pending(driver: AllocationDriver, aside: SetAside) -> list[Outgoing]:
    """Carry out what is due; return what is published."""
    async with transaction(driver.pool, lambda: driver.now, "allocation") as tx:
        await erase_due(tx, aside)
        return list(tx.pending)


async def people_of(driver: AllocationDriver) -> set[str]:
    """The addresses of all people."""
    return {row["email"] for row in await driver.pool.fetch("SELECT email FROM people")}


async def test_a_person_is_deleted_with_grants_and_roles_when_they_are_erased(
    driver: AllocationDriver, alan: PersonId
) -> None:
    decision = await erase(driver, alan)
    assert decision.code == "accepted"
    assert decision.outcome.resource == alan
    kinds = [type(one) for one in decision.events]
    assert kinds == [ErasureChanged, GrantsChanged, RoleChanged, ErasureChanged]
    erased: ErasureState = decision.events[-1].erasure
    assert (erased.erased_at, erased.version, erased.requested_by) == (driver.now, 2, person_id(VENDOR))
    assert await people_of(driver) == {PRIMARY, UMA}
    assert not await driver.pool.fetchval("SELECT count(*) FROM grants WHERE person = $1", alan)
    confirmed = next(one for one in decision.audit if one.action == CONFIRM)
    assert confirmed.after == {"service": "allocation", "subscriptions": 1, "roles": 1}
    assert ALAN not in "".join(one.model_dump_json() for one in [*decision.audit, *decision.events])


async def test_the_record_of_a_person_is_deleted_from_the_topic_when_they_are_erased(
    driver: AllocationDriver, alan: PersonId
) -> None:
    await erase(driver, alan)
    rows = await driver.pool.fetch(
        "SELECT value FROM outbox WHERE topic = $1 AND key = $2 ORDER BY id",
        ALLOCATION_PEOPLE_TOPIC.name,
        alan.encode(),
    )
    assert rows[-1]["value"] is None


async def test_the_first_answer_is_repeated_when_a_person_is_erased_twice(
    driver: AllocationDriver, alan: PersonId
) -> None:
    first = await erase(driver, alan)
    second = await erase(driver, alan)
    assert (second.code, second.outcome.version) == ("accepted", first.outcome.version)
    assert second.events == []


async def test_a_new_person_has_another_id_when_an_erased_address_is_added_again(
    driver: AllocationDriver, alan: PersonId
) -> None:
    await erase(driver, alan)
    added = await driver.sell(AddPerson(account=ACCOUNT, email=ALAN, name="Alan"))
    assert added.outcome.resource != alan
    assert not await driver.pool.fetchval("SELECT count(*) FROM grants WHERE person = $1", added.outcome.resource)


async def test_nothing_changes_when_an_erasure_is_previewed(driver: AllocationDriver, alan: PersonId) -> None:
    decision = await erase(driver, alan, preview=True)
    assert decision.outcome.result == {"due_at": driver.now.isoformat(), "ends": {"subscriptions": 1, "roles": 1}}
    assert decision.events == []
    assert [one.action for one in decision.audit] == ["preview-erasure"]
    assert ALAN in await people_of(driver)
    assert (await erase(driver, alan)).code == "accepted"


@pytest.mark.usefixtures("alan")
async def test_a_person_cannot_be_erased_when_they_are_a_primary_contact_until_handed_over(
    driver: AllocationDriver,
) -> None:
    paula = await driver.id_of(PRIMARY, ACCOUNT)
    assert paula is not None
    refused = await erase(driver, paula)
    assert "hand the subscription over first" in refused.refusal.details["errors"][0]["message"]
    await driver.sell(by_address(SetPrimaryContact, subscription=SUBSCRIPTION, email=ALAN))
    assert (await erase(driver, paula)).code == "accepted"


@pytest.mark.usefixtures("alan")
async def test_a_person_cannot_be_erased_when_they_are_the_last_user_administrator(driver: AllocationDriver) -> None:
    uma = await driver.id_of(UMA, ACCOUNT)
    assert uma is not None
    refused = await erase(driver, uma)
    assert SUBSCRIPTION in refused.refusal.details["errors"][0]["message"]
    both = by_address(SetGrants, subscription=SUBSCRIPTION, email=ALAN, grants=("useradmin",))
    assert (await driver.ask(both)).code == "accepted"
    assert (await erase(driver, uma)).code == "accepted"


async def test_nobody_erases_themselves(driver: AllocationDriver, alan: PersonId) -> None:
    await driver.ask(by_address(SetGrants, subscription=SUBSCRIPTION, email=ALAN, grants=("useradmin",)))
    assert (await erase(driver, alan, ALAN)).code == "forbidden"
    assert (await erase(driver, alan, UMA)).code == "accepted"


async def test_an_erasure_is_not_found_when_the_person_is_unknown_or_foreign(
    driver: AllocationDriver, alan: PersonId
) -> None:
    await driver.open(subscription="globex", contact=STRANGER)
    sam = await driver.id_of(STRANGER, "globex")
    assert sam is not None
    codes = [
        (await erase(driver, sam, UMA)).code,
        (await erase(driver, sam, UMA, account="globex-account")).code,
        (await erase(driver, PersonId("0" * 32), UMA)).code,
        (await erase(driver, PersonId("0" * 32))).code,
        (await erase(driver, alan, account=None)).code,
        (await erase(driver, alan, STRANGER)).code,
    ]
    assert codes == ["not_found"] * 6
    assert (await erase(driver, alan, PRIMARY)).code == "forbidden", "a primary contact may remove, not erase"


async def test_a_person_is_erased_when_it_is_due_and_gets_nothing_more_before(
    driver: AllocationDriver, alan: PersonId
) -> None:
    driver.erase_after = WEEK
    asked = await erase(driver, alan)
    marked = next(one for one in asked.events if isinstance(one, PersonChanged))
    assert (marked.person.erase_at, marked.person.version) == (driver.now + WEEK, 2)
    assert (await driver.plan(scan=100, by=ALAN)).code == "accepted", "what they have, they keep until then"
    more = by_address(SetGrants, subscription=SUBSCRIPTION, email=ALAN, grants=("allocator", "viewer"))
    assert (await driver.ask(more)).code == "invalid_request"
    assert (await driver.ask(by_address(SetPrimaryContact, subscription=SUBSCRIPTION, email=ALAN))).code != "accepted"
    aside = SetAside("erasures")
    driver.now += WEEK - timedelta(microseconds=1)
    assert await pending(driver, aside) == []
    driver.now += timedelta(microseconds=1)
    tombstones = [one for one in await pending(driver, aside) if one.value is None]
    assert [one.key for one in tombstones] == [alan.encode()]
    assert await pending(driver, aside) == [], "once"
    assert (await driver.plan(scan=200, by=ALAN)).code == "not_found"
    assert await people_of(driver) == {PRIMARY, UMA}


async def test_other_people_are_erased_when_one_erasure_always_fails(
    driver: AllocationDriver, alan: PersonId, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.erase_after = WEEK
    await driver.sell(AddPerson(account=ACCOUNT, email="ben@acme.example", name="Ben"))
    ben = await driver.id_of("ben@acme.example", ACCOUNT)
    assert ben is not None
    await erase(driver, alan)
    await erase(driver, ben)
    driver.now += WEEK
    delete, poisoned = people.delete_person, {alan}

    async def deletes(connection: Any, person: PersonId) -> None:
        if person in poisoned:
            raise RuntimeError("broken")
        await delete(connection, person)

    monkeypatch.setattr(erasures, "delete_person", deletes)
    aside = SetAside("erasures")
    await pending(driver, aside)
    assert await people_of(driver) == {PRIMARY, UMA, ALAN}
    assert await driver.pool.fetchval("SELECT whose FROM set_aside_work WHERE work = 'erasures'") == alan
    await pending(driver, aside)
    poisoned.clear()
    driver.now += timedelta(minutes=1)
    await pending(driver, aside)
    assert await people_of(driver) == {PRIMARY, UMA}
    assert not await driver.pool.fetchval("SELECT count(*) FROM set_aside_work")


async def test_a_person_is_erased_while_they_are_writing(driver: AllocationDriver, alan: PersonId) -> None:
    plans = [
        command(ApplyPlan(subscription=SUBSCRIPTION, changes=(PlannedChange(product="scan", units=n),)), alan)
        for n in range(1, 21)
    ]
    erasure = command(ErasePerson(account=ACCOUNT, person=alan, reason=REASON), VENDOR, vendor=True)
    decisions = await driver.decide_concurrently([*plans[:10], erasure, *plans[10:]])
    assert {one.code for one in decisions} <= {"accepted", "not_found", "rebalance_too_soon"}
    assert len(decisions) == 21
    assert await people_of(driver) == {PRIMARY, UMA}
    assert (await driver.plan(scan=30, by=ALAN)).code == "not_found"


async def test_the_person_of_another_account_is_left_when_one_with_the_same_address_is_erased(
    driver: AllocationDriver, alan: PersonId
) -> None:
    await driver.open(subscription="globex", contact=STRANGER)
    await driver.sell(AddPerson(account="globex-account", email=ALAN, name="Alan"))
    allocator = by_address(SetGrants, subscription="globex", email=ALAN, grants=("allocator",))
    assert (await driver.ask(allocator, STRANGER)).code == "accepted"
    await erase(driver, alan)
    assert ALAN in await people_of(driver)
    assert (await driver.plan("globex", scan=1, by=ALAN)).code == "accepted"
    assert (await driver.plan(scan=1, by=ALAN)).code == "not_found"


async def test_an_operator_is_introduced_once_and_erased(driver: AllocationDriver) -> None:
    asked = IntroducePerson(email=VENDOR, name="Vera")
    first = await driver.decide(command(asked, SYSTEM))
    again = await driver.decide(command(asked, SYSTEM))
    assert first.outcome.resource == again.outcome.resource
    assert [type(one) for one in first.events] == [PersonChanged]
    assert again.events == []
    vera = PersonId(first.outcome.resource or "")
    assert (await erase(driver, vera, "victor@vendor.example", account=None)).code == "not_found"
    payload = ErasePerson(person=vera, reason=REASON)
    assert (await driver.ask(payload, "victor@vendor.example", vendor=True)).code == "accepted"
    assert await people_of(driver) == set()
    third = await driver.decide(command(asked, SYSTEM))
    assert third.outcome.resource != vera


async def test_nobody_introduces_people_but_the_system(driver: AllocationDriver) -> None:
    asked = IntroducePerson(email=STRANGER, name="Sam")
    assert (await driver.ask(asked, STRANGER)).code == "forbidden"
    assert (await driver.ask(asked, VENDOR, vendor=True)).code == "forbidden"


async def test_the_same_address_without_an_account_is_another_person(driver: AllocationDriver, alan: PersonId) -> None:
    introduced = await driver.decide(command(IntroducePerson(email=ALAN, name="Alan"), SYSTEM))
    assert introduced.outcome.resource != alan
    assert await driver.id_of(ALAN, ACCOUNT) == alan
