"""Random commands on people, grants and members: states equal the tables."""

import random

import pytest

from services.allocation.store.roles import lock_role
from services.allocation.store.subscriptions import lock_subscription
from shared.events.allocation import PersonChanged, RoleChanged
from shared.events.commands.accounts import AddPerson, ChangePerson, RemovePerson, SetRoleMember
from shared.events.commands.subscriptions import SetGrants, SetPrimaryContact
from shared.events.envelope import Payload
from shared.events.ids import AccountId, RoleId, SubscriptionId
from tests.component.allocation.test_people import ACCOUNT, SUBSCRIPTION
from tests.support.drivers.allocation import PRIMARY, AllocationDriver, ByAddress, by_address

ROLES = ("scan-manager", "scan-reader")
PEOPLE = [PRIMARY, *(f"{name}@acme.example" for name in ("alan", "petra", "uma"))]


def anything(rng: random.Random, n: int) -> Payload | ByAddress:
    """A random command on people, grants or members."""
    email, subscription = rng.choice(PEOPLE), rng.choice((SUBSCRIPTION, "acme-second"))
    grants = tuple(rng.sample(("viewer", "allocator", "auditor", "useradmin"), k=rng.randint(0, 2)))
    choices: list[Payload | ByAddress] = [
        AddPerson(account=ACCOUNT, email=email, name=f"Name {n}"),
        by_address(ChangePerson, account=ACCOUNT, email=email, enabled=rng.random() < 0.6),
        by_address(ChangePerson, account=ACCOUNT, email=email, name=f"Name {n}"),
        by_address(RemovePerson, account=ACCOUNT, email=email),
        by_address(SetGrants, subscription=subscription, email=email, grants=grants),
        by_address(SetGrants, subscription=subscription, email=email, grants=grants),
        by_address(SetPrimaryContact, subscription=subscription, email=email),
        by_address(SetRoleMember, account=ACCOUNT, role=rng.choice(ROLES), email=email, member=rng.random() < 0.7),
    ]
    return rng.choice(choices)


@pytest.mark.parametrize("seed", range(3))
async def test_published_states_equal_the_tables_when_commands_are_random(driver: AllocationDriver, seed: int) -> None:
    """Compare the newest published states with each other and with the tables."""
    await driver.open()
    await driver.open(subscription="acme-second", account=ACCOUNT)
    rng, contacts = random.Random(seed), {SUBSCRIPTION: PRIMARY, "acme-second": PRIMARY}
    people: dict[str, bool] = {PRIMARY: True}
    given: dict[str, set[tuple[str, str]]] = {SUBSCRIPTION: set(), "acme-second": set()}
    members: dict[str, tuple[str, ...]] = dict.fromkeys(ROLES, ())
    met = {(one, PRIMARY) for one in contacts}
    addresses = {await driver.id_of(PRIMARY, ACCOUNT): PRIMARY}
    accepted = 0
    for n in range(150):
        requested = anything(rng, n)
        about = requested if isinstance(requested, ByAddress) else None
        by = contacts[about.fields.get("subscription", SUBSCRIPTION) if about else SUBSCRIPTION]
        decision = await driver.ask(requested, by)
        accepted += decision.code == "accepted"
        codes = {"accepted", "invalid_request", "not_found", "already_exists"}
        if (
            about
            and about.kind in (RemovePerson, ChangePerson)
            and any(contacts[one] != by for one, email in met if email == about.email)
        ):
            codes |= {"forbidden"}  # the person is or was known to a subscription of another contact
        assert decision.code in codes
        for event in decision.events:
            if isinstance(event, PersonChanged):
                people[event.person.email] = event.person.is_active
                addresses[event.person.id] = event.person.email
            elif isinstance(event, RoleChanged):
                members[event.role.role] = tuple(addresses[one] for one in event.role.members)
            else:
                state = event.subscription
                contacts[state.id] = addresses[state.primary_contact]
                given[state.id] = {(addresses[one.person], one.grant) for one in state.grants}
                met |= {(state.id, contacts[state.id]), *((state.id, email) for email, _ in given[state.id])}
        active = {email for email, is_active in people.items() if is_active}
        assert set(contacts.values()) <= active
        assert {email for some in given.values() for email, _ in some} <= active
        assert {email for some in members.values() for email in some} <= active
        assert all(contacts[one] not in {email for email, _ in given[one]} for one in contacts)
    assert accepted > 40
    async with driver.pool.acquire() as connection:
        for subscription, expected in given.items():
            found = await lock_subscription(connection, SubscriptionId(subscription))
            assert found is not None
            assert {(addresses[one.person], one.grant) for one in found.state.grants} == expected
            assert addresses[found.state.primary_contact] == contacts[subscription]
        for role, some in members.items():
            stored = await lock_role(connection, AccountId(ACCOUNT), RoleId(role))
            assert stored is not None
            assert tuple(addresses[one] for one in stored.members) == some
