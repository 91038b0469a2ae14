"""Subscriptions without a pool: commands that need one are refused with a reason."""

from datetime import timedelta
from typing import Any, Literal

import pytest

from services.allocation.domain.lifecycle import FLEX
from services.allocation.domain.permissions import MAY, Action
from shared.events.commands.accounts import SetFlex
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.commands.subscriptions import CreateSubscription, RenewSubscription
from tests.component.allocation.test_commands import another_subscription
from tests.component.allocation.test_people import ACCOUNT, PETRA, SUBSCRIPTION, add, fields
from tests.component.allocation.test_permissions import COMMANDS
from tests.support.drivers.allocation import PRIMARY, START, VENDOR, AllocationDriver, Decision

Off = Literal["per_product", "feature", "both", "missing"]
CODES: dict[Off, str] = {
    "per_product": "not_a_flex_subscription",
    "feature": "feature_not_enabled",
    "both": "not_a_flex_subscription",
    "missing": "not_found",
}


async def without(driver: AllocationDriver, off: Off) -> None:
    """Create a subscription that has no pool for this reason.

    For ``missing`` it has another id.
    """
    model: Any = "per_product" if off in {"per_product", "both"} else "flex"
    await driver.open(model=model, subscription="other" if off == "missing" else SUBSCRIPTION)
    if off in {"feature", "both"}:
        await driver.sell(SetFlex(account=ACCOUNT, enabled=False, reason="ended"))


async def ask(driver: AllocationDriver, action: Action, **changes: Any) -> Decision:
    """Decide a command of a person who may send it."""
    vendor = "primary" not in MAY[action]
    requested = await driver.resolved(COMMANDS[action])
    return await driver.ask(requested.model_copy(update=changes), VENDOR if vendor else PRIMARY, vendor=vendor)


@pytest.mark.parametrize("off", CODES)
async def test_every_flex_command_is_refused_with_the_code_of_the_reason(driver: AllocationDriver, off: Off) -> None:
    await without(driver, off)
    for action in sorted(FLEX):
        decision = await ask(driver, action)
        assert (action, decision.code, decision.events) == (action, CODES[off], [])
        assert [(one.outcome, one.reason, one.action) for one in decision.audit] == [("denied", CODES[off], action)]
    preview = await ask(driver, "apply-plan", preview=True)
    assert isinstance(COMMANDS["apply-plan"], ApplyPlan)
    assert (preview.code, preview.events) == (CODES[off], [])


async def test_conversion_and_creation_are_refused_when_the_feature_is_not_enabled(driver: AllocationDriver) -> None:
    await without(driver, "both")
    decision = await ask(driver, "convert-subscription")
    assert (decision.code, decision.refusal.details) == ("feature_not_enabled", {"account": ACCOUNT})
    assert (await ask(driver, "create-subscription")).code == "feature_not_enabled"
    classic: CreateSubscription = another_subscription().model_copy(update={"model": "per_product"})
    assert (await driver.sell(classic)).subscription.model == "per_product"


async def test_a_per_product_subscription_has_people_and_an_end(driver: AllocationDriver) -> None:
    await without(driver, "both")
    await add(driver, PETRA)
    renewal = RenewSubscription(subscription=SUBSCRIPTION, end=START + timedelta(days=900))
    pool = renewal.model_copy(update={"units": 5, "lot": "l-1", "order_reference": "PO"})
    assert fields(await driver.ask(pool, VENDOR, vendor=True)) == {"units", "lot", "order_reference"}
    assert len((await driver.sell(renewal)).subscription.all_terms) == 2
    for action in ("set-grants", "set-primary-contact", "cancel-subscription"):
        assert (await ask(driver, action)).code == "accepted"


async def test_flex_commands_are_accepted_when_the_subscription_was_converted(driver: AllocationDriver) -> None:
    await without(driver, "per_product")
    decision = await ask(driver, "convert-subscription")
    assert (decision.subscription.model, decision.subscription.purchased(driver.now)) == ("flex", 0)
    for action in ("purchase-lot", "subscribe-product", "set-policy", "apply-plan", "lock-rates"):
        changes: dict[str, Any] = {"product": "scan"} if action == "subscribe-product" else {}
        if action == "apply-plan":
            changes = {"changes": (PlannedChange(product="scan", units=5),)}
        decision = await ask(driver, action, **changes)
        assert (action, decision.code) == (action, "accepted")
