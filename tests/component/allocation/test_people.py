"""People, grants and primary contacts, through the inbox on a real database."""

from typing import Any

import pytest

from shared.events.allocation import GrantsChanged, PersonChanged, PrimaryContactChanged, RoleChanged
from shared.events.commands.accounts import AddPerson, ChangePerson, CreateAccount, RemovePerson, SetFlex, SetRoleMember
from shared.events.commands.subscriptions import CreateSubscription, SetGrants, SetPrimaryContact
from shared.events.envelope import Payload
from shared.events.state import Person
from shared.runtime.sealed_text import open_text
from tests.support.drivers.allocation import (
    PRIMARY,
    START,
    STRANGER,
    VENDOR,
    AllocationDriver,
    ByAddress,
    Decision,
    by_address,
    command,
)

ACCOUNT, SUBSCRIPTION = "acme-flex-account", "acme-flex"
ALAN, UMA, PETRA = "alan@acme.example", "uma@acme.example", "petra@acme.example"


async def add(driver: AllocationDriver, *emails: str, account: str = ACCOUNT) -> None:
    """Add people to the account."""
    for email in emails:
        name = email.partition("@")[0].title()
        await driver.sell(AddPerson(account=account, email=email, name=name))


async def grant(
    driver: AllocationDriver, email: str, *grants: Any, subscription: str = SUBSCRIPTION, by: str = PRIMARY
) -> Decision:
    """Set a person's grants on a subscription."""
    return await driver.ask(by_address(SetGrants, subscription=subscription, email=email, grants=grants), by)


def fields(decision: Decision) -> set[str]:
    """The fields that an invalid request was refused for."""
    assert decision.code == "invalid_request", decision.outcome
    return {one["field"] for one in decision.refusal.details["errors"]}


async def test_the_primary_contact_of_a_new_subscription_is_a_person_of_the_account(driver: AllocationDriver) -> None:
    await driver.open()
    known = await driver.pool.fetch("SELECT email, name, enabled, version FROM people WHERE account = $1", ACCOUNT)
    assert [dict(one) for one in known] == [{"email": PRIMARY, "name": "Paula", "enabled": True, "version": 1}]
    second = CreateSubscription(
        subscription="s-2",
        account=ACCOUNT,
        name="Second",
        model="flex",
        start=START,
        end=driver.now.replace(year=2027),
        primary_contact=Person(email=PRIMARY, name="Another name"),
    )
    decision = await driver.sell(second)
    assert [type(one).__name__ for one in decision.events] == ["SubscriptionCreated"]
    assert decision.subscription.primary_contact == await driver.id_of(PRIMARY, ACCOUNT)


async def test_a_primary_contact_is_refused_when_the_person_is_disabled(driver: AllocationDriver) -> None:
    await driver.open()
    await add(driver, ALAN)
    await driver.sell(by_address(ChangePerson, account=ACCOUNT, email=ALAN, enabled=False))
    requested = CreateSubscription(
        subscription="s-2",
        account=ACCOUNT,
        name="Second",
        model="flex",
        start=START,
        end=driver.now.replace(year=2027),
        primary_contact=Person(email=ALAN, name="Alan"),
    )
    assert fields(await driver.ask(requested, VENDOR, vendor=True)) == {"primary_contact.email"}
    assert fields(await driver.ask(by_address(SetPrimaryContact, subscription=SUBSCRIPTION, email=ALAN))) == {"email"}
    await driver.sell(by_address(RemovePerson, account=ACCOUNT, email=ALAN))
    back = await driver.sell(requested)
    assert [type(one).__name__ for one in back.events] == ["PersonChanged", "SubscriptionCreated"]
    assert back.events[0].person.is_active


async def test_a_person_is_added_changed_removed_and_added_again(driver: AllocationDriver) -> None:
    await driver.open()
    decision = await driver.ask(AddPerson(account=ACCOUNT, email="Alan@Acme.example", name="Alan"))
    (event,) = decision.events
    assert isinstance(event, PersonChanged)
    assert (decision.outcome.resource, decision.outcome.version) == (event.person.id, 1)
    assert decision.audit[0].object == f"account/{ACCOUNT}/person/{event.person.id}"
    assert (event.person.email, event.person.enabled, event.person.account) == (ALAN, True, ACCOUNT)
    after = decision.audit[0].after or {}
    assert [open_text(after.pop(name), event.person.text_key) for name in ("email", "name")] == [ALAN, "Alan"]
    assert after == {
        "id": event.person.id,
        "enabled": True,
        "removed_at": None,
        "erase_at": None,
        "version": 1,
    }
    assert (await driver.ask(AddPerson(account=ACCOUNT, email=ALAN, name="A"))).code == "already_exists"
    renamed = await driver.ask(by_address(ChangePerson, account=ACCOUNT, email=ALAN, name="Alan A."))
    assert (renamed.events[0].person.name, renamed.outcome.version) == ("Alan A.", 2)
    same = await driver.ask(by_address(ChangePerson, account=ACCOUNT, email=ALAN, name="Alan A.", enabled=True))
    assert (same.code, same.events, same.outcome.version) == ("accepted", [], 2)
    removed = await driver.ask(by_address(RemovePerson, account=ACCOUNT, email=ALAN))
    assert (removed.events[0].person.removed_at, removed.events[0].person.enabled) == (driver.now, False)
    for gone in (
        by_address(ChangePerson, account=ACCOUNT, email=ALAN, name="B"),
        by_address(RemovePerson, account=ACCOUNT, email=ALAN),
    ):
        assert (await driver.ask(gone)).code == "not_found"
    back = await driver.ask(AddPerson(account=ACCOUNT, email=ALAN, name="Alan"))
    assert (back.code, back.outcome.version, back.events[0].person.is_active) == ("accepted", 4, True)


async def test_a_person_keeps_their_id_and_has_another_in_another_account(driver: AllocationDriver) -> None:
    await driver.open()
    added = await driver.ask(AddPerson(account=ACCOUNT, email=ALAN, name="Alan"))
    known = added.events[0].person.id
    for requested in (
        by_address(ChangePerson, account=ACCOUNT, email=ALAN, name="Alan A.", enabled=False),
        by_address(RemovePerson, account=ACCOUNT, email=ALAN),
        AddPerson(account=ACCOUNT, email=ALAN, name="Alan"),
    ):
        assert (await driver.ask(requested)).events[0].person.id == known
    (other,) = (await driver.ask(AddPerson(account=ACCOUNT, email=UMA, name="Uma"))).events
    await driver.sell(CreateAccount(account="globex", name="Globex"))
    (there,) = (await driver.sell(AddPerson(account="globex", email=ALAN, name="Alan"))).events
    assert len({known, other.person.id, there.person.id}) == 3
    rows = await driver.pool.fetch("SELECT topic, key FROM outbox WHERE topic = 'allocation.people'")
    assert {row["key"].decode() for row in rows} >= {known, other.person.id, there.person.id}


async def test_setting_grants_replaces_the_persons_grants(driver: AllocationDriver) -> None:
    await driver.open()
    await add(driver, ALAN)
    given = await grant(driver, ALAN, "viewer", "allocator")
    alan = await driver.id_of(ALAN, ACCOUNT)
    assert [(one.person, one.grant) for one in given.subscription.grants] == [(alan, "allocator"), (alan, "viewer")]
    assert (given.audit[0].before, given.audit[0].after) == (
        {"person": alan, "grants": []},
        {"person": alan, "grants": ["allocator", "viewer"]},
    )
    assert (await driver.plan(scan=1, by=ALAN)).code == "accepted"
    same = await grant(driver, ALAN, "allocator", "viewer")
    assert (same.code, same.events) == ("accepted", [])
    less = await grant(driver, ALAN, "viewer")
    assert [one.grant for one in less.subscription.grants] == ["viewer"]
    assert (await driver.plan(scan=2, by=ALAN)).code == "forbidden"
    none = await grant(driver, ALAN)
    assert none.subscription.grants == ()
    assert (await driver.plan(scan=2, by=ALAN)).code == "not_found"
    assert (await grant(driver, ALAN)).events == []


@pytest.mark.parametrize(
    ("email", "grants", "field"),
    [
        (STRANGER, ("viewer",), "email"),
        (PRIMARY, ("viewer",), "email"),
        (ALAN, ("viewer", "viewer"), "grants"),
        (UMA, ("viewer",), "email"),
    ],
)
async def test_grants_are_refused_with_their_field_when_they_are_invalid(
    driver: AllocationDriver, email: str, grants: tuple[str, ...], field: str
) -> None:
    await driver.open()
    await add(driver, ALAN, UMA)
    await driver.sell(by_address(ChangePerson, account=ACCOUNT, email=UMA, enabled=False))
    decision = await grant(driver, email, *grants)
    assert fields(decision) == {field}
    assert (decision.events, decision.audit[0].outcome) == ([], "denied")
    assert (await grant(driver, email)).code == "accepted"


async def test_the_primary_contact_is_replaced_in_one_step(driver: AllocationDriver) -> None:
    await driver.open()
    await add(driver, PETRA)
    await grant(driver, PETRA, "useradmin")
    decision = await driver.ask(by_address(SetPrimaryContact, subscription=SUBSCRIPTION, email=PETRA))
    (event,) = decision.events
    assert isinstance(event, PrimaryContactChanged)
    paula, petra = [await driver.id_of(one, ACCOUNT) for one in (PRIMARY, PETRA)]
    assert (event.before, decision.subscription.primary_contact) == (paula, petra)
    assert decision.subscription.grants == ()
    assert decision.audit[0].before == {"primary_contact": paula}
    assert decision.audit[0].after == {"primary_contact": petra}
    assert (await driver.plan(scan=1, by=PRIMARY)).code == "not_found"
    assert (await driver.plan(scan=1, by=PETRA)).code == "accepted"
    assert (
        await driver.ask(by_address(SetPrimaryContact, subscription=SUBSCRIPTION, email=PRIMARY), PRIMARY)
    ).code == "not_found"
    back = await driver.sell(by_address(SetPrimaryContact, subscription=SUBSCRIPTION, email=PRIMARY))
    assert back.subscription.primary_contact == paula
    same = await driver.sell(by_address(SetPrimaryContact, subscription=SUBSCRIPTION, email=PRIMARY))
    assert (same.events, same.outcome.version) == ([], back.outcome.version)


@pytest.mark.parametrize("email", [STRANGER, UMA])
async def test_a_primary_contact_is_refused_when_the_person_is_unknown_or_removed(
    driver: AllocationDriver, email: str
) -> None:
    await driver.open()
    await add(driver, UMA)
    await driver.sell(by_address(RemovePerson, account=ACCOUNT, email=UMA))
    decision = await driver.ask(by_address(SetPrimaryContact, subscription=SUBSCRIPTION, email=email))
    assert fields(decision) == {"email"}
    assert (await driver.plan(scan=1)).code == "accepted"


async def test_removing_or_disabling_a_person_is_refused_when_they_are_primary_contact(
    driver: AllocationDriver,
) -> None:
    await driver.open()
    for requested in (
        by_address(RemovePerson, account=ACCOUNT, email=PRIMARY),
        by_address(ChangePerson, account=ACCOUNT, email=PRIMARY, enabled=False),
    ):
        assert fields(await driver.ask(requested, VENDOR, vendor=True)) == {"email"}
    renamed = await driver.ask(by_address(ChangePerson, account=ACCOUNT, email=PRIMARY, name="Paula P."))
    assert [type(one) for one in renamed.events] == [PersonChanged], "the subscription names them by id"
    await add(driver, PETRA)
    await driver.ask(by_address(SetPrimaryContact, subscription=SUBSCRIPTION, email=PETRA))
    assert (await driver.ask(by_address(RemovePerson, account=ACCOUNT, email=PRIMARY), PETRA)).code == "accepted"


async def test_a_person_may_do_nothing_when_disabled_and_as_before_when_enabled_again(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.open(subscription="acme-second", account=ACCOUNT)
    await add(driver, ALAN, UMA)
    await grant(driver, UMA, "useradmin")
    for subscription in ("acme-second", SUBSCRIPTION):
        await grant(driver, ALAN, "allocator", subscription=subscription)
    await driver.ask(by_address(SetRoleMember, account=ACCOUNT, role="scan-reader", email=ALAN, member=True))
    disabled = await driver.ask(by_address(ChangePerson, account=ACCOUNT, email=ALAN, enabled=False), UMA)
    assert [type(one) for one in disabled.events] == [PersonChanged, GrantsChanged, GrantsChanged, RoleChanged]
    changed = disabled.events[1:3]
    assert [one.subscription.id for one in changed] == [SUBSCRIPTION, "acme-second"]
    alan, uma = [await driver.id_of(one, ACCOUNT) for one in (ALAN, UMA)]
    assert all(alan not in {given.person for given in one.subscription.grants} for one in changed)
    assert disabled.events[3].role.members == ()
    assert (await driver.plan(scan=1, by=ALAN)).code == "not_found"
    enabled = await driver.ask(by_address(ChangePerson, account=ACCOUNT, email=ALAN, enabled=True), UMA)
    assert [type(one) for one in enabled.events] == [PersonChanged, GrantsChanged, GrantsChanged, RoleChanged]
    assert {given.person for given in enabled.events[1].subscription.grants} == {alan, uma}
    assert enabled.events[3].role.members == (alan,)
    assert (await driver.plan(scan=1, by=ALAN)).code == "accepted"


async def test_a_person_has_no_grants_when_added_again_after_removal(driver: AllocationDriver) -> None:
    await driver.open()
    await add(driver, ALAN)
    await grant(driver, ALAN, "allocator")
    await driver.ask(by_address(SetRoleMember, account=ACCOUNT, role="scan-reader", email=ALAN, member=True))
    removed = await driver.ask(by_address(RemovePerson, account=ACCOUNT, email=ALAN))
    assert [type(one) for one in removed.events] == [GrantsChanged, RoleChanged, PersonChanged]
    assert (await driver.plan(scan=1, by=ALAN)).code == "not_found"
    back = await driver.ask(AddPerson(account=ACCOUNT, email=ALAN, name="Alan"))
    assert [type(one) for one in back.events] == [PersonChanged]
    assert (await driver.plan(scan=1, by=ALAN)).code == "not_found"
    assert await driver.pool.fetchval("SELECT count(*) FROM role_members") == 0


async def test_a_user_administrator_may_do_nothing_when_disabled(driver: AllocationDriver) -> None:
    await driver.open()
    await add(driver, UMA)
    await grant(driver, UMA, "useradmin")
    someone = AddPerson(account=ACCOUNT, email=ALAN, name="Alan")
    await driver.ask(by_address(ChangePerson, account=ACCOUNT, email=UMA, enabled=False))
    assert (await driver.ask(someone, UMA)).code == "not_found"
    await driver.ask(by_address(ChangePerson, account=ACCOUNT, email=UMA, enabled=True))
    assert (await driver.ask(someone, UMA)).code == "accepted"


async def test_a_command_is_refused_when_the_person_is_of_another_account(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.open(subscription="globex", contact=STRANGER)
    decision = await driver.ask(AddPerson(account="globex-account", email=ALAN, name="Alan"))
    assert decision.code == "not_found"
    assert (await driver.ask(AddPerson(account=ACCOUNT, email=ALAN, name="Alan"), STRANGER)).code == "not_found"
    await add(driver, ALAN)
    assert fields(await grant(driver, ALAN, "viewer", subscription="globex", by=STRANGER)) == {"email"}
    nobody = AddPerson(account="nobody", email=ALAN, name="Alan")
    assert (await driver.ask(nobody, VENDOR, vendor=True)).code == "not_found"


async def test_a_command_is_not_found_when_its_actor_is_a_person_of_another_account(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.open(subscription="globex", contact=STRANGER)
    sam = await driver.id_of(STRANGER, "globex")
    paula = await driver.id_of(PRIMARY, ACCOUNT)
    for payload in (
        AddPerson(account=ACCOUNT, email=ALAN, name="Alan"),
        SetGrants(subscription=SUBSCRIPTION, person=sam, grants=()),
        SetPrimaryContact(subscription=SUBSCRIPTION, person=sam),
    ):
        requested = command(payload, PRIMARY).model_copy(update={"actor": sam})
        assert (await driver.decide(requested)).code == "not_found"
    theirs = command(SetGrants(subscription="globex", person=paula, grants=("viewer",)), STRANGER)
    assert fields(await driver.decide(theirs)) == {"email"}, "Paula is no person of Globex"
    assert await driver.pool.fetchval("SELECT count(*) FROM grants") == 0


@pytest.mark.parametrize("name", ["<b>Alan</b>", "Alan & Co", " ", "a\nb", "x" * 201])
def test_a_command_is_invalid_when_a_persons_name_has_markup(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        AddPerson(account=ACCOUNT, email=ALAN, name=name)


async def test_no_grant_is_left_when_people_are_removed_while_they_get_grants(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.open(subscription="acme-second", account=ACCOUNT)
    people = [f"p{n}@acme.example" for n in range(6)]
    await add(driver, *people)
    requested: list[ByAddress] = []
    for email in people:
        requested += [
            by_address(SetGrants, subscription=one, email=email, grants=("viewer",))
            for one in ("acme-second", SUBSCRIPTION)
        ]
        requested.append(by_address(RemovePerson, account=ACCOUNT, email=email))
        requested.append(by_address(SetRoleMember, account=ACCOUNT, role="scan-reader", email=email, member=True))
    decisions = await driver.decide_concurrently([command(await driver.resolved(one), PRIMARY) for one in requested])
    assert {one.code for one in decisions} <= {"accepted", "invalid_request"}
    assert await driver.pool.fetchval("SELECT count(*) FROM grants") == 0
    assert await driver.pool.fetchval("SELECT count(*) FROM role_members") == 0


@pytest.mark.parametrize(
    "requested",
    [
        AddPerson(account="none", email=ALAN, name="A"),
        CreateAccount(account="none", name="N"),
        SetFlex(account="none", enabled=True, reason="R"),
        by_address(SetGrants, subscription="none", email=ALAN, grants=()),
    ],
)
async def test_a_denied_command_is_audited_for_the_vendor_when_its_resource_does_not_exist(
    driver: AllocationDriver, requested: Payload | ByAddress
) -> None:
    decision = await driver.ask(requested, STRANGER)
    assert [(one.account, one.outcome) for one in decision.audit] == [("vendor", "denied")]


async def test_a_person_is_removed_only_by_those_who_manage_all_of_their_subscriptions(
    driver: AllocationDriver,
) -> None:
    await driver.open()
    await add(driver, ALAN, UMA, PETRA)
    second = CreateSubscription(
        subscription="s-2",
        account=ACCOUNT,
        name="Second",
        model="flex",
        start=START,
        end=driver.now.replace(year=2027),
        primary_contact=Person(email=PETRA, name="Petra"),
    )
    await driver.sell(second)
    await grant(driver, UMA, "useradmin", "auditor")
    await grant(driver, UMA, "auditor", subscription="s-2", by=PETRA)
    for subscription, by in ((SUBSCRIPTION, PRIMARY), ("s-2", PETRA)):
        await grant(driver, ALAN, "viewer", subscription=subscription, by=by)
    remove = by_address(RemovePerson, account=ACCOUNT, email=ALAN)
    for who in (UMA, PRIMARY, PETRA):
        assert (await driver.ask(remove, who)).code == "forbidden"
    for enabled, who in ((False, UMA), (True, PETRA), (False, PRIMARY)):
        assert (
            await driver.ask(by_address(ChangePerson, account=ACCOUNT, email=ALAN, enabled=enabled), who)
        ).code == "accepted"
    await grant(driver, ALAN, subscription=SUBSCRIPTION)
    for requested in (remove, by_address(ChangePerson, account=ACCOUNT, email=ALAN, enabled=True)):
        assert (await driver.ask(requested, PRIMARY)).code == "not_found", "of subscriptions that they may not see"
        assert (await driver.ask(requested, UMA)).code == "forbidden", "they see the person and do not manage them"
    assert (await driver.ask(remove, PETRA)).code == "accepted"
    await add(driver, ALAN)
    assert (await driver.ask(remove, UMA)).code == "accepted", (
        "a person without grants may be managed by every administrator"
    )
