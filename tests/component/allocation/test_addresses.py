"""A person's address is corrected."""

from typing import Any

import pytest

from shared.events.commands.accounts import AddPerson, ChangePerson, RemovePerson
from tests.component.allocation.test_people import ACCOUNT, ALAN, UMA, add, fields, grant
from tests.support.drivers.allocation import PRIMARY, STRANGER, VENDOR, AllocationDriver, Decision, by_address

NEW = "alan.allocator@acme.example"


async def correct(driver: AllocationDriver, email: str, new: str, by: str = PRIMARY, **more: Any) -> Decision:
    """Change the address of the person who has ``email``."""
    person = await driver.id_of(email, ACCOUNT)
    return await driver.ask(
        ChangePerson.model_validate({"account": ACCOUNT, "person": person, "email": new, **more}), by
    )


async def test_a_person_keeps_id_and_grants_when_their_address_is_corrected(driver: AllocationDriver) -> None:
    await driver.open()
    await add(driver, ALAN)
    await grant(driver, ALAN, "allocator")
    alan = await driver.id_of(ALAN, ACCOUNT)
    decision = await correct(driver, ALAN, NEW)
    (event,) = decision.events
    assert (event.person.id, event.person.email, event.person.version) == (alan, NEW, 2)
    assert (await driver.plan(scan=1, by=NEW)).code == "accepted"
    assert (await driver.plan(scan=2, by=ALAN)).code == "not_found"
    assert (await correct(driver, NEW, NEW)).events == []


async def test_an_address_is_refused_when_another_person_of_the_account_has_it(driver: AllocationDriver) -> None:
    await driver.open()
    await add(driver, ALAN, UMA)
    assert (await correct(driver, ALAN, UMA)).code == "already_exists"
    await driver.sell(by_address(RemovePerson, account=ACCOUNT, email=UMA))
    refused = await correct(driver, ALAN, UMA)
    assert refused.code == "already_exists", "the history of a removed person stays theirs"
    assert UMA not in refused.refusal.message


async def test_an_address_may_be_that_of_a_person_of_another_account(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.open(subscription="globex", contact=STRANGER)
    await add(driver, ALAN)
    assert (await correct(driver, ALAN, STRANGER)).code == "accepted"
    assert await driver.id_of(STRANGER, ACCOUNT) != await driver.id_of(STRANGER, "globex-account")


@pytest.mark.parametrize("address", ["\u212aim@acme.example", "k\u0456m@acme.example"])
async def test_an_address_is_refused_when_it_looks_like_another(driver: AllocationDriver, address: str) -> None:
    await driver.open()
    await add(driver, ALAN)
    assert fields(await correct(driver, ALAN, address)) == {"email"}


async def test_a_freed_address_may_be_given_to_a_new_person(driver: AllocationDriver) -> None:
    await driver.open()
    await add(driver, ALAN)
    alan = await driver.id_of(ALAN, ACCOUNT)
    await correct(driver, ALAN, NEW, by=PRIMARY)
    added = await driver.ask(AddPerson(account=ACCOUNT, email=ALAN, name="Another"), VENDOR, vendor=True)
    assert (added.code, added.outcome.resource != alan) == ("accepted", True)
