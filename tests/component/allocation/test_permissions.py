"""Every role with every command, through the inbox: outcomes and audit records.

The expected outcomes are in the table of the unit tests, which is written by hand; docs/permissions.md is generated.
"""

from datetime import timedelta
from typing import Any

import pytest

from services.allocation.domain.permissions import OPEN, ROLES
from shared.events.commands import ALLOCATION_COMMANDS
from shared.events.commands.accounts import (
    AddPerson,
    ChangePerson,
    ChangeRole,
    CreateAccount,
    CreateRole,
    ErasePerson,
    RemovePerson,
    ResetRole,
    SetFlex,
    SetRoleMember,
)
from shared.events.commands.catalogue import (
    CreateMeter,
    CreateProduct,
    RetireProduct,
    SetPriceList,
    SetRate,
    SetRoleTemplates,
)
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.commands.subscriptions import (
    CancelSubscription,
    ConvertSubscription,
    LockRates,
    PurchaseLot,
    RenewSubscription,
    SetGrants,
    SetPolicy,
    SetPrimaryContact,
    SubscribeProduct,
    UnsubscribeProduct,
    VoidLot,
)
from shared.events.envelope import Payload
from shared.events.outcomes import SYSTEM
from shared.events.state import Permission, RoleTemplate, Tier
from shared.runtime.delivery.batch_runner import transaction
from tests.component.allocation.test_commands import another_subscription
from tests.component.allocation.test_people import ACCOUNT, PETRA, SUBSCRIPTION, add, grant
from tests.support.builders.people import person_id, written
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
    decision_in,
    record,
)
from tests.unit.allocation.test_permissions import cells

WHO = {
    "vendor": VENDOR,
    "primary": PRIMARY,
    **{role: f"{role}@acme.example" for role in ("allocator", "viewer", "auditor", "useradmin")},
    "stranger": STRANGER,
}
PLAN = ApplyPlan(subscription=SUBSCRIPTION, changes=(PlannedChange(product="hub", units=5),))
READER = RoleTemplate(role="bare-shift", name="Reader", summary="Reads", permissions=("page.use",))
PAGE = Permission(id="page.use", category="Access", description="Use the pages")
COMMANDS: dict[str, Payload | ByAddress] = {
    "create-account": CreateAccount(account="new", name="A"),
    "set-flex": SetFlex(account=ACCOUNT, enabled=True, reason="asked"),
    "create-product": CreateProduct(product="new", name="P"),
    "create-meter": CreateMeter(product="scan", meter="new", name="M", aggregation="sum", units=1, block=1),
    "set-rate": SetRate(product="scan", meter="host", units=2, block=1, effective_from=START + timedelta(days=1)),
    "retire-product": RetireProduct(product="scan"),
    "set-role-templates": SetRoleTemplates(product="bare", permissions=(PAGE,), roles=(READER,)),
    "set-price-list": SetPriceList(
        currency="EUR", list_price_minor=1, tiers=(Tier(from_units=0, discount_basis_points=0),)
    ),
    "create-subscription": another_subscription(),
    "purchase-lot": PurchaseLot(subscription=SUBSCRIPTION, lot="new", units=100, order_reference="PO"),
    "void-lot": VoidLot(subscription=SUBSCRIPTION, lot="lot-1", reason="ordered twice"),
    "renew-subscription": RenewSubscription(
        subscription=SUBSCRIPTION, end=START + timedelta(days=900), units=1, order_reference="PO", lot="new"
    ),
    "cancel-subscription": CancelSubscription(subscription=SUBSCRIPTION, reason="they left"),
    "convert-subscription": ConvertSubscription(subscription=SUBSCRIPTION, model="flex"),
    "lock-rates": LockRates(subscription=SUBSCRIPTION, locked=True),
    "subscribe-product": SubscribeProduct(subscription=SUBSCRIPTION, product="extra"),
    "unsubscribe-product": UnsubscribeProduct(subscription=SUBSCRIPTION, product="scan"),
    "set-policy": SetPolicy(subscription=SUBSCRIPTION, product="scan", overage="reserve"),
    "apply-plan": PLAN,
    "override-plan": PLAN.model_copy(update={"override_reason": "a merger"}),
    "set-primary-contact": by_address(SetPrimaryContact, subscription=SUBSCRIPTION, email=PETRA),
    "set-grants": by_address(SetGrants, subscription=SUBSCRIPTION, email=PETRA, grants=("viewer",)),
    "add-person": AddPerson(account=ACCOUNT, email="new@acme.example", name="New"),
    "change-person": by_address(ChangePerson, account=ACCOUNT, email=PETRA, enabled=False),
    "remove-person": by_address(RemovePerson, account=ACCOUNT, email=PETRA),
    "erase-person": by_address(ErasePerson, account=ACCOUNT, email=PETRA, reason=written("asked for it", VENDOR)),
    "create-role": CreateRole(account=ACCOUNT, role="new", product="scan", name="New", permissions=()),
    "change-role": ChangeRole(account=ACCOUNT, role="scan-reader", permissions=()),
    "reset-role": ResetRole(account=ACCOUNT, role="scan-reader"),
    "set-role-member": by_address(SetRoleMember, account=ACCOUNT, role="scan-reader", email=PETRA, member=True),
}


@pytest.fixture
async def populated(driver: AllocationDriver) -> AllocationDriver:
    """A driver with one person of each role, and the resources that the commands name."""
    await driver.open()
    for product in ("extra", "bare"):
        await driver.sell(CreateProduct(product=product, name=product.title()))
    await driver.pool.execute("DELETE FROM role_templates WHERE product = 'bare'")
    delegates = ("allocator", "viewer", "auditor", "useradmin")
    await add(driver, PETRA, *(WHO[role] for role in delegates))
    for role in delegates:
        assert (await grant(driver, WHO[role], role)).code == "accepted"
    await driver.open(subscription="globex", contact=STRANGER, products=())
    return driver


async def answer(driver: AllocationDriver, requested: Payload | ByAddress, actor: str, *, vendor: bool) -> Decision:
    """Decide a command and roll it back, so that all commands find the same data."""
    decisions: list[Decision] = []
    sent = await driver.identified(command(await driver.resolved(requested), actor, vendor=vendor))
    async with transaction(driver.pool, lambda: driver.now, "allocation") as tx, tx.savepoint() as undo:
        await driver.inbox()(tx, [record(sent)])
        decisions.append(decision_in(tx.pending))
        undo()
    return decisions[0]


async def test_every_command_of_every_role_has_the_outcome_of_the_table(populated: AllocationDriver) -> None:
    table: dict[tuple[str, str], bool] = {(action, role): may for action, role, may in cells()}
    given: dict[tuple[str, str], Any] = {}
    expected: dict[tuple[str, str], Any] = {}
    for action, requested in COMMANDS.items():
        for role, email in WHO.items():
            decision = await answer(populated, requested, email, vendor=role == "vendor")
            may = table.get((action, role), False)
            denied = "not_found" if role == "stranger" and action not in OPEN else "forbidden"
            (audit,) = [one for one in decision.audit if one.actor != SYSTEM]
            assert audit.actor in (person_id(email), await populated.id_of(email, ACCOUNT))
            given[action, role] = (decision.code, audit.outcome, audit.action, bool(decision.events) <= may)
            expected[action, role] = ("accepted" if may else denied, "allowed" if may else "denied", action, True)
    assert given == expected
    assert len(given) == len(COMMANDS) * (len(ROLES) + 1)


def test_the_commands_of_this_test_are_all_commands() -> None:
    verbs = {one.event_type.split(".")[2] for one in ALLOCATION_COMMANDS}
    assert set(COMMANDS) == (verbs - {"introduce-person"}) | {"override-plan"}


@pytest.mark.parametrize("email", ["Paula@ACME.example", "PAULA@acme.EXAMPLE"])
async def test_a_person_is_the_same_however_the_address_is_written(driver: AllocationDriver, email: str) -> None:
    await driver.open()
    assert (await driver.ask(PLAN, email)).code == "accepted"


async def test_a_vendors_address_has_no_rights_when_it_is_not_marked_as_vendor(driver: AllocationDriver) -> None:
    await driver.open()
    assert (await driver.ask(COMMANDS["purchase-lot"], VENDOR)).code == "not_found"
