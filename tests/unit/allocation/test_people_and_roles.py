"""People and roles: their limits and unchanged values.

The commands are tested through the inbox.
"""

from typing import Any

import pytest

from services.allocation.domain import people, roles
from services.allocation.domain.catalogue import create_product
from shared.events.commands.accounts import AddPerson, ChangeRole, CreateRole
from shared.events.commands.catalogue import CreateProduct
from shared.events.ids import AccountId, PersonId
from shared.events.state import GrantedTo, Person, PersonState, RoleState
from tests.support.builders.people import person_id
from tests.support.builders.subscriptions import NOW, START, refused, subscription

KNOWN, FRESH = PersonId("1" * 32), people.NewPerson(PersonId("2" * 32), "3" * 64)
PRODUCT = create_product(CreateProduct(product="scan", name="Scan"))


def person(email: str = "new@acme.example", **changes: Any) -> PersonState:
    """A person of the account."""
    values = {"id": KNOWN, "account": "acme", "email": email, "name": "New", "text_key": "1" * 64, "version": 3}
    return PersonState.model_validate({**values, **changes})


def role(**changes: Any) -> RoleState:
    """A default role of the account."""
    return roles.defaults(AccountId("acme"), PRODUCT)[2].model_copy(update=changes)


def test_a_primary_contact_has_the_accounts_name_when_the_person_exists() -> None:
    contact = Person(email="new@acme.example", name="Other")
    known = person()
    assert people.as_primary(known, AccountId("acme"), contact, FRESH) is known
    new = people.as_primary(None, AccountId("acme"), contact, FRESH)
    assert isinstance(new, PersonState)
    assert (new.id, new.text_key, new.name, new.version, new.is_active) == (FRESH.id, "3" * 64, "Other", 1, True)
    back = people.as_primary(person(removed_at=START, enabled=False), AccountId("acme"), contact, FRESH)
    assert isinstance(back, PersonState)
    assert (back.id, back.name, back.version, back.is_active) == (KNOWN, "Other", 4, True)
    assert refused(people.as_primary(person(enabled=False), AccountId("acme"), contact, FRESH))[0] == "invalid_request"


def test_grants_are_refused_when_the_subscription_has_the_most() -> None:
    full = subscription()
    many = tuple(
        GrantedTo(person=person_id(f"p{n}@acme.example"), grant="viewer") for n in range(people.MAX_GRANTS - 1)
    )
    full = full.changed(NOW, grants=many)
    one = person()
    assert people.grant_refusal(full, one, ("viewer",), NOW) is None
    refusal = people.grant_refusal(full, one, ("viewer", "auditor"), NOW)
    assert refused(refusal)[1]["errors"][0]["field"] == "grants"
    again = person("p0@acme.example", id=person_id("p0@acme.example"))
    assert people.grant_refusal(full, again, ("viewer", "auditor"), NOW) is None


def test_a_role_is_refused_when_the_account_has_the_most() -> None:
    asked = CreateRole(account="acme", role="night", product="scan", name="Night", permissions=("page.use",))
    made = roles.create(asked, PRODUCT, taken=False, count=roles.MAX_ROLES - 1)
    assert isinstance(made, RoleState)
    refusal = roles.create(asked, PRODUCT, taken=False, count=roles.MAX_ROLES)
    assert refused(refusal)[1]["errors"][0]["field"] == "role"


@pytest.mark.parametrize("length", [1, 200])
def test_names_of_standard_roles_are_within_limits_when_the_products_is_the_longest(length: int) -> None:
    product = create_product(CreateProduct(product="p" * 64, name="N" * length))
    assert all(len(one.name) <= 200 and len(one.role) <= 100 for one in product.roles)
    assert {permission for one in product.roles for permission in one.permissions} <= {
        one.id for one in product.permissions
    }


def test_standard_roles_differ_and_only_the_manager_has_all_permissions() -> None:
    granted = [frozenset(one.permissions) for one in PRODUCT.roles]
    assert len(set(granted)) == len(granted)
    assert [len(one) == len(PRODUCT.permissions) for one in granted] == [True, False, False, False]


def test_renaming_a_default_role_does_not_customise_it() -> None:
    renamed = roles.change(role(), ChangeRole(account="acme", role="scan-reader", name="Looks on"), PRODUCT)
    assert isinstance(renamed, RoleState)
    assert (renamed.name, renamed.customised, renamed.version) == ("Looks on", None, 2)
    back = roles.reset(renamed, PRODUCT)
    assert isinstance(back, RoleState)
    assert (back.name, back.version) == ("Scan Reader", 3)


def test_a_default_role_is_customised_when_it_is_set_to_the_templates_permissions() -> None:
    template = PRODUCT.roles[2].permissions
    same = roles.change(role(), ChangeRole(account="acme", role="scan-reader", permissions=template), PRODUCT)
    assert isinstance(same, RoleState)
    assert (same.customised, same.based_on) == (template, 1)


def test_adding_a_person_is_refused_when_they_exist() -> None:
    asked = AddPerson(account="acme", email="new@acme.example", name="New")
    assert refused(people.add(person(), asked, FRESH))[0] == "already_exists"
    assert refused(people.add(person(enabled=False), asked, FRESH))[0] == "already_exists"


@pytest.mark.parametrize("address", ["\u212aim@acme.example", "\ufeffkim@acme.example", "k\u0456m@acme.example"])
def test_adding_a_person_is_refused_when_the_address_looks_like_another(address: str) -> None:
    command = AddPerson(account=AccountId("acme"), email=address, name="Kim")
    for known in (None, person(address, removed_at=START, enabled=False)):
        assert refused(people.add(known, command, FRESH))[1]["errors"][0]["field"] == "email"
        contact = people.as_primary(known, AccountId("acme"), Person(email=address, name="Kim"), FRESH)
        assert refused(contact)[1]["errors"][0]["field"] == "primary_contact.email"
    known = person(address)
    assert people.as_primary(known, AccountId("acme"), Person(email=address, name="Kim"), FRESH) is known
    assert isinstance(people.remove(known, NOW, is_primary=False), PersonState)
