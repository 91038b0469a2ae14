"""Roles: created, customised, reset and given, through the inbox."""

from typing import Any

import pytest

from services.allocation.domain.roles import STANDARD_PERMISSIONS
from services.allocation.handlers.backfill import backfill
from shared.events.allocation import (
    ALLOCATION_EVENTS,
    PEOPLE_EVENTS,
    PersonChanged,
    ProductSubscribed,
    RoleChanged,
    RoleTemplatesChanged,
)
from shared.events.commands.accounts import AddPerson, ChangePerson, ChangeRole, CreateRole, ResetRole, SetRoleMember
from shared.events.commands.catalogue import CreateProduct, RetireProduct, SetRoleTemplates
from shared.events.commands.subscriptions import SubscribeProduct, UnsubscribeProduct
from shared.events.envelope import by_type, decode
from shared.events.ids import AccountId, PermissionId, RoleId
from shared.events.state import Permission, ProductState, RoleState, RoleTemplate
from shared.runtime.delivery.batch_runner import transaction
from tests.component.allocation.test_people import ACCOUNT, ALAN, SUBSCRIPTION, add, fields, grant
from tests.support.drivers.allocation import (
    PRIMARY,
    STRANGER,
    VENDOR,
    AllocationDriver,
    ByAddress,
    Decision,
    by_address,
)

EVENTS = by_type(ALLOCATION_EVENTS + PEOPLE_EVENTS)
READER = "scan-reader"
DEFAULTS = ["scan-manager", "scan-operator", "scan-reader", "scan-auditor"]


def templates(product: ProductState, *extra: RoleTemplate, **changes: Any) -> SetRoleTemplates:
    """The product's templates, with more of them or with changes."""
    values = {"product": product.id, "permissions": product.permissions, "roles": (*product.roles, *extra), **changes}
    return SetRoleTemplates(**values)


def template(role: str, *permissions: str, name: str = "Night shift", summary: str = "Works at night") -> RoleTemplate:
    """The template of a default role."""
    granted = tuple(map(PermissionId, permissions))
    return RoleTemplate(role=RoleId(role), name=name, summary=summary, permissions=granted)


async def product_of(driver: AllocationDriver, id: str = "fresh") -> ProductState:
    """Create a product; return its published state."""
    state: ProductState = (await driver.sell(CreateProduct(product=id, name=id.title()))).events[0].product
    return state


async def roles_of(driver: AllocationDriver, account: str = ACCOUNT) -> list[str]:
    """The ids of the account's roles, from the tables."""
    rows = await driver.pool.fetch("SELECT id FROM roles WHERE account = $1 ORDER BY id", account)
    return [row["id"] for row in rows]


def change(role: str = READER, **changes: Any) -> ChangeRole:
    """A change of a role of the account."""
    return ChangeRole(account=ACCOUNT, role=role, **changes)


async def test_a_new_product_has_the_standard_default_roles(driver: AllocationDriver) -> None:
    product = await product_of(driver)
    assert [one.id for one in product.permissions] == [one[0] for one in STANDARD_PERMISSIONS]
    assert {"page.use", "api.use"} <= {one.id for one in product.permissions}
    kinds = ("Manager", "Operator", "Reader", "Auditor")
    assert [one.name for one in product.roles] == [f"Fresh {kind}" for kind in kinds]
    assert [one.role for one in product.roles] == [f"fresh-{one.removeprefix('scan-')}" for one in DEFAULTS]
    assert (product.roles_version, product.version) == (1, 1)


async def test_subscribing_to_a_product_creates_its_default_roles_once_per_account(driver: AllocationDriver) -> None:
    await driver.open(products=())
    await driver.sell(CreateProduct(product="scan", name="Scan"))
    first = await driver.ask(SubscribeProduct(subscription=SUBSCRIPTION, product="scan"))
    assert [type(one) for one in first.events] == [ProductSubscribed, *[RoleChanged] * 4]
    made = [one.role for one in first.events[1:]]
    assert [one.role for one in made] == DEFAULTS
    assert all(one.is_default and one.customised is None and one.account == ACCOUNT for one in made)
    await driver.ask(change(permissions=("page.use",)))
    await driver.open(subscription="acme-second", account=ACCOUNT, products=())
    second = await driver.ask(SubscribeProduct(subscription="acme-second", product="scan"))
    assert [type(one) for one in second.events] == [ProductSubscribed]
    await driver.sell(UnsubscribeProduct(subscription=SUBSCRIPTION, product="scan"))
    again = await driver.ask(SubscribeProduct(subscription=SUBSCRIPTION, product="scan"))
    assert [type(one) for one in again.events] == [ProductSubscribed]
    assert await roles_of(driver) == sorted(DEFAULTS)


async def test_a_role_is_customised_and_reset(driver: AllocationDriver) -> None:
    await driver.open()
    changed = await driver.ask(change(name="Looks on", permissions=("page.use", "api.use")))
    role: RoleState = changed.events[0].role
    assert (role.name, role.customised, role.based_on, role.version) == ("Looks on", ("page.use", "api.use"), 1, 2)
    assert (changed.outcome.resource, changed.outcome.version) == (READER, 2)
    assert changed.audit[0].before is not None
    assert changed.audit[0].before["customised"] is None
    same = await driver.ask(change(name="Looks on", permissions=("page.use", "api.use")))
    assert (same.code, same.events) == ("accepted", [])
    reset = await driver.ask(ResetRole(account=ACCOUNT, role=READER))
    assert (reset.events[0].role.name, reset.events[0].role.customised) == ("Scan Reader", None)
    again = await driver.ask(ResetRole(account=ACCOUNT, role=READER))
    assert (again.code, again.events) == ("accepted", [])
    nothing = await driver.ask(change(permissions=()))
    assert nothing.events[0].role.customised == ()


async def test_new_templates_never_overwrite_a_customised_role(driver: AllocationDriver) -> None:
    await driver.open(products=())
    product = await product_of(driver, "scan")
    await driver.ask(SubscribeProduct(subscription=SUBSCRIPTION, product="scan"))
    await driver.ask(change(permissions=("page.use", "api.use")))
    fewer = tuple(one.model_copy(update={"permissions": ("page.use",)}) for one in product.roles)
    decision = await driver.sell(templates(product, roles=fewer))
    (event,) = decision.events
    assert isinstance(event, RoleTemplatesChanged)
    assert (event.product.roles_version, event.product.version, event.product.roles) == (2, 2, fewer)
    row = await driver.pool.fetchrow("SELECT customised, based_on, version FROM roles WHERE id = $1", READER)
    assert dict(row or {}) == {"customised": ["page.use", "api.use"], "based_on": 1, "version": 2}
    reset = await driver.ask(ResetRole(account=ACCOUNT, role=READER))
    assert reset.events[0].role.customised is None
    later = await driver.ask(change("scan-manager", permissions=()))
    assert later.events[0].role.based_on == 2
    same = await driver.sell(templates(product, roles=fewer))
    assert (same.events, same.outcome.version) == ([], 2)


async def test_every_account_with_the_product_gets_a_new_default_role(driver: AllocationDriver) -> None:
    await driver.open(products=())
    await driver.open(subscription="globex", contact=STRANGER, products=())
    product = await product_of(driver, "scan")
    for subscription, by in ((SUBSCRIPTION, PRIMARY), ("globex", STRANGER)):
        await driver.ask(SubscribeProduct(subscription=subscription, product="scan"), by)
    decision = await driver.sell(templates(product, template("scan-night", "page.use")))
    assert [type(one).__name__ for one in decision.events] == ["RoleTemplatesChanged", "RoleChanged", "RoleChanged"]
    assert [one.role.account for one in decision.events[1:]] == [ACCOUNT, "globex-account"]
    assert "scan-night" in await roles_of(driver, "globex-account")


async def refused_templates(driver: AllocationDriver, requested: SetRoleTemplates) -> set[str]:
    """The fields that the templates were refused for."""
    decision = await driver.ask(requested, VENDOR, vendor=True)
    assert decision.events == []
    return fields(decision)


async def test_templates_are_refused_with_their_field_when_they_are_invalid(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.ask(own("night"))
    product = await product_of(driver)
    twice = (*product.permissions, product.permissions[0])
    marked = (Permission(id=PermissionId("x"), category="<b>", description="a & b"), *product.permissions)
    assert await refused_templates(driver, templates(product, template("fresh-a", "none"))) == {"roles.4.permissions"}
    doubled = template("fresh-a", "page.use", "page.use")
    assert await refused_templates(driver, templates(product, doubled)) == {"roles.4.permissions"}
    assert await refused_templates(driver, templates(product, product.roles[0])) == {"roles.4.role"}
    assert await refused_templates(driver, templates(product, template("scan-reader"))) == {"roles.4.role"}
    assert await refused_templates(driver, templates(product, template("night"))) == {"roles.4.role"}
    marked_role = template("fresh-a", name="<i>A</i>", summary="B & C")
    assert await refused_templates(driver, templates(product, marked_role)) == {"roles.4.name", "roles.4.summary"}
    assert await refused_templates(driver, templates(product, roles=product.roles[1:])) == {"roles"}
    assert await refused_templates(driver, templates(product, permissions=twice)) == {"permissions.9.id"}
    bad = await refused_templates(driver, templates(product, permissions=marked))
    assert bad == {"permissions.0.category", "permissions.0.description"}
    missing = await driver.ask(templates(product).model_copy(update={"product": "none"}), VENDOR, vendor=True)
    assert missing.code == "not_found"
    await driver.sell(RetireProduct(product="fresh"))
    retired = await driver.ask(templates(product, template("fresh-a")), VENDOR, vendor=True)
    assert retired.code == "product_retired"


async def test_a_product_is_refused_when_the_ids_of_its_roles_exist(driver: AllocationDriver) -> None:
    product = await product_of(driver, "scan")
    await driver.sell(templates(product, template("scan-two-reader")))
    decision = await driver.ask(CreateProduct(product="scan-two", name="Scan Two"), VENDOR, vendor=True)
    assert fields(decision) == {"product"}


def own(role: str = "night", *permissions: str, product: str = "scan", name: str = "Night shift") -> CreateRole:
    """A custom role of the account."""
    return CreateRole(account=ACCOUNT, role=role, product=product, name=name, permissions=permissions)


async def test_an_account_creates_custom_roles(driver: AllocationDriver) -> None:
    await driver.open()
    made = await driver.ask(own("night", "page.use", "tasks.run"))
    role: RoleState = made.events[0].role
    assert (role.is_default, role.customised, role.based_on) == (False, ("page.use", "tasks.run"), None)
    changed = await driver.ask(change("night", permissions=("page.use",)))
    assert (changed.events[0].role.customised, changed.events[0].role.based_on) == (("page.use",), None)
    assert (await driver.ask(own("night"))).code == "already_exists"
    assert (await driver.ask(own("scan-reader"))).code == "already_exists"
    assert fields(await driver.ask(ResetRole(account=ACCOUNT, role="night"))) == {"role"}


async def test_a_role_command_is_refused_when_it_is_invalid(driver: AllocationDriver) -> None:
    await driver.open()
    await product_of(driver)
    assert fields(await driver.ask(own("a", "fly"))) == {"permissions"}
    assert fields(await driver.ask(own("a", "page.use", "page.use"))) == {"permissions"}
    assert fields(await driver.ask(own("a", product="none"))) == {"product"}
    assert (await driver.ask(own("a", product="fresh"))).code == "product_not_subscribed"
    assert (await driver.ask(own("fresh-reader"))).code == "already_exists"
    assert fields(await driver.ask(change(permissions=("fly", "swim")))) == {"permissions"}
    for missing in (change("none", name="A"), ResetRole(account=ACCOUNT, role="none"), give("none", PRIMARY)):
        assert (await driver.ask(missing)).code == "not_found"
    await driver.sell(RetireProduct(product="scan"))
    for late in (own("b"), change(name="A"), ResetRole(account=ACCOUNT, role=READER)):
        decision = await driver.ask(late)
        assert (decision.code, decision.events) == ("product_retired", [])
    assert (await driver.ask(give(READER, PRIMARY))).code == "accepted"


@pytest.mark.parametrize("name", ["<script>", "a > b", "R&D", "", "x" * 201])
def test_a_command_is_invalid_when_a_roles_name_has_markup(name: str) -> None:
    for make in (lambda: own("a", name=name), lambda: change(name=name)):
        with pytest.raises(ValueError, match="name"):
            make()


def give(role: str, email: str, *, member: bool = True) -> ByAddress:
    """A command that gives a role to a person, or takes it away."""
    return by_address(SetRoleMember, account=ACCOUNT, role=role, email=email, member=member)


async def test_a_role_is_given_and_taken_back(driver: AllocationDriver) -> None:
    await driver.open()
    await add(driver, ALAN)
    given = await driver.ask(give(READER, ALAN))
    alan = await driver.id_of(ALAN, ACCOUNT)
    assert (given.events[0].role.members, given.outcome.version) == ((alan,), 2)
    assert (await driver.ask(give(READER, ALAN))).events == []
    kept = await driver.ask(change(permissions=("page.use",)))
    assert kept.events[0].role.members == (alan,)
    taken = await driver.ask(give(READER, ALAN, member=False))
    assert (taken.events[0].role.members, taken.outcome.version) == ((), 4)
    assert (await driver.ask(give(READER, STRANGER, member=False))).events == []


async def test_giving_a_role_is_refused_when_the_person_is_unknown_or_disabled(driver: AllocationDriver) -> None:
    await driver.open()
    await add(driver, ALAN)
    await driver.ask(by_address(ChangePerson, account=ACCOUNT, email=ALAN, enabled=False))
    for email in (ALAN, STRANGER):
        decision = await driver.ask(give(READER, email))
        assert (fields(decision), decision.events) == ({"email"}, [])


async def test_the_backfill_completes_older_data_once(driver: AllocationDriver) -> None:
    await driver.open()
    for statement in (
        "DELETE FROM role_templates",
        "DELETE FROM permissions",
        "DELETE FROM roles",
        "UPDATE products SET roles_version = 0",
        "UPDATE people SET version = 0",
    ):
        await driver.pool.execute(statement)
    assert (await completed(driver)) == [RoleTemplatesChanged] * 2 + [PersonChanged] + [RoleChanged] * 8
    assert (await completed(driver)) == []
    assert len(await roles_of(driver)) == 8
    assert await driver.pool.fetchval("SELECT version FROM people WHERE email = $1", PRIMARY) == 1
    assert (await driver.ask(change(permissions=("page.use",)))).code == "accepted"


async def completed(driver: AllocationDriver) -> list[type[Any]]:
    """Run the backfill to its end; return the types of its events."""
    published: list[type[Any]] = []
    left = 1
    while left:
        async with transaction(driver.pool, lambda: driver.now, "allocation") as tx:
            left = await backfill(tx)
            published += [type(event.data) for one in tx.pending if (event := decode(one.value or b"", EVENTS))]
    return published


async def test_a_user_administrator_manages_roles_and_no_units(driver: AllocationDriver) -> None:
    await driver.open()
    await add(driver, ALAN)
    await grant(driver, ALAN, "useradmin")
    someone = AddPerson(account=ACCOUNT, email="x@acme.example", name="X")
    allowed: list[Any] = [own("a"), change("a", name="B"), give("a", ALAN), someone]
    for requested in allowed:
        decision: Decision = await driver.ask(requested, ALAN)
        assert (decision.code, decision.audit[0].actor, decision.audit[0].account) == (
            "accepted",
            await driver.id_of(ALAN, ACCOUNT),
            AccountId(ACCOUNT),
        )
    assert (await driver.plan(scan=1, by=ALAN)).code == "forbidden"
