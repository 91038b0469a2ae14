"""Permissions that reporting shows, compared with those that allocation enforces."""

import pytest

from services.allocation.domain.permissions import MAY, Action
from services.reporting.domain.caller import Caller
from services.reporting.domain.permissions import PERMISSIONS, permissions_of, sort_roles
from tests.support.builders.published import PRIMARY, USERADMIN, VENDOR, VIEWER

SHOWN_FOR: dict[Action, str] = {
    "purchase-lot": "purchase",
    "void-lot": "void_purchase",
    "renew-subscription": "renew",
    "cancel-subscription": "cancel",
    "convert-subscription": "convert",
    "lock-rates": "lock_rates",
    "subscribe-product": "subscribe_product",
    "unsubscribe-product": "unsubscribe_product",
    "set-policy": "set_policy",
    "apply-plan": "allocate",
    "override-plan": "override_rebalance",
    "set-primary-contact": "hand_over",
    "set-grants": "manage_grants",
    "add-person": "manage_people",
    "change-person": "manage_people",
    "remove-person": "manage_people",
    "create-role": "manage_roles",
    "change-role": "manage_roles",
    "reset-role": "manage_roles",
    "set-role-member": "manage_roles",
}


@pytest.mark.parametrize("action", SHOWN_FOR)
def test_permission_is_shown_for_exactly_the_roles_that_allocation_permits(action: Action) -> None:
    shown = {role for role, permissions in PERMISSIONS.items() if SHOWN_FOR[action] in permissions}
    assert shown == MAY[action]


def test_roles_are_sorted_strongest_first_and_their_permissions_combined() -> None:
    assert sort_roles(Caller(PRIMARY, "", vendor=True), {"primary"}) == ("vendor", "primary")
    assert sort_roles(Caller(VENDOR, ""), ()) == ()
    assert sort_roles(Caller(VIEWER, ""), {"viewer"}) == ("viewer",)
    useradmin = permissions_of(sort_roles(Caller(USERADMIN, ""), {"useradmin"}))
    assert "view" not in useradmin
    assert "manage_roles" in useradmin
