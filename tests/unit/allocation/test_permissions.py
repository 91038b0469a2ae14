"""Every role with every command: allowed or refused."""

from pathlib import Path

import pytest

from services.allocation.domain.permission_table import page
from services.allocation.domain.permissions import ACTIONS, ROLES, Action, Actor, Role, refusal_for, roles_of
from shared.events.commands import ALLOCATION_COMMANDS
from tests.support.builders.people import person_id
from tests.support.builders.subscriptions import subscription

MATRIX = """
                     vendor  primary  allocator  viewer  auditor  useradmin
create-account       yes     no       no         no      no       no
set-flex             yes     no       no         no      no       no
create-product       yes     no       no         no      no       no
create-meter         yes     no       no         no      no       no
set-rate             yes     no       no         no      no       no
retire-product       yes     no       no         no      no       no
set-role-templates   yes     no       no         no      no       no
set-price-list       yes     no       no         no      no       no
create-subscription  yes     no       no         no      no       no
purchase-lot         yes     no       no         no      no       no
void-lot             yes     no       no         no      no       no
renew-subscription   yes     no       no         no      no       no
cancel-subscription  yes     no       no         no      no       no
convert-subscription yes     no       no         no      no       no
lock-rates           yes     no       no         no      no       no
subscribe-product    yes     yes      no         no      no       no
unsubscribe-product  yes     no       no         no      no       no
set-policy           yes     yes      no         no      no       no
apply-plan           no      yes      yes        no      no       no
override-plan        yes     no       no         no      no       no
set-primary-contact  yes     yes      no         no      no       no
set-grants           no      yes      no         no      no       no
add-person           yes     yes      no         no      no       yes
change-person        yes     yes      no         no      no       yes
remove-person        yes     yes      no         no      no       yes
erase-person         yes     no       no         no      no       yes
create-role          yes     yes      no         no      no       yes
change-role          yes     yes      no         no      no       yes
reset-role           yes     yes      no         no      no       yes
set-role-member      yes     yes      no         no      no       yes
"""
PEOPLE: dict[Role, Actor] = {
    "vendor": Actor(person_id("vera@vendor.example"), is_vendor=True),
    "primary": Actor(person_id("paula@acme.example")),
    "allocator": Actor(person_id("alan@acme.example")),
    "viewer": Actor(person_id("victor@acme.example")),
    "auditor": Actor(person_id("audrey@acme.example")),
    "useradmin": Actor(person_id("uma@acme.example")),
}


def cells() -> list[tuple[str, str, bool]]:
    head, *rows = [line.split() for line in MATRIX.strip().splitlines()]
    return [(row[0], role, cell == "yes") for row in rows for role, cell in zip(head, row[1:], strict=True)]


@pytest.mark.parametrize(("action", "role", "may"), cells())
def test_each_role_may_do_what_the_table_says(action: Action, role: Role, may: bool) -> None:
    roles = roles_of(PEOPLE[role], subscription().state)
    assert roles == {role}
    refusal = refusal_for(action, roles, what="subscription")
    assert refusal is None if may else refusal is not None and refusal.code == "forbidden"


def test_the_table_has_every_command_and_every_role() -> None:
    assert {(action, role) for action, role, _ in cells()} == {(a, r) for a in ACTIONS for r in ROLES}
    commands = {one.event_type.split(".")[2] for one in ALLOCATION_COMMANDS}
    by_the_system = {"introduce-person"}
    assert (commands - by_the_system) | {"override-plan"} == set(ACTIONS)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_command_of_a_stranger_is_not_found(action: Action) -> None:
    refusal = refusal_for(
        action, roles_of(Actor(person_id("sam@globex.example")), subscription().state), what="subscription"
    )
    assert refusal is not None
    catalogue = {"create-product", "create-meter", "set-rate", "retire-product", "set-role-templates", "set-price-list"}
    hidden = action not in catalogue | {"create-account"}
    assert refusal.code == ("not_found" if hidden else "forbidden")


def test_a_command_is_forbidden_when_the_actor_may_know_the_account() -> None:
    refusal = refusal_for("set-flex", (), known=True, what="account")
    assert refusal is not None
    assert refusal.code == "forbidden"


def test_the_permissions_page_equals_the_table() -> None:
    written = (Path(__file__).parents[3] / "docs" / "permissions.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m services.allocation.domain.permission_table > docs/permissions.md"
    rows = [line.split("|") for line in written.splitlines() if line.startswith("| `")]
    for action, role, may in cells():
        row = next(one for one in rows if one[1].strip(" *") == f"`{action}`")
        assert (row[2 + ROLES.index(role)].strip() == "yes") is may


def test_a_person_with_two_roles_has_the_rights_of_both() -> None:
    both = Actor(person_id("paula@acme.example"), is_vendor=True)
    roles = roles_of(both, subscription().state)
    assert roles == {"vendor", "primary"}
    assert refusal_for("apply-plan", roles, what="subscription") is None
    assert refusal_for("override-plan", roles, what="subscription") is None
