"""The table of permissions as a page of the documentation.

``python -m services.allocation.domain.permission_table > docs/permissions.md`` writes the page. A test compares it with
what this says now.
"""

import sys
from typing import Final

from services.allocation.domain.lifecycle import FLEX, PERMITS
from services.allocation.domain.permissions import ACTIONS, MAY, OPEN, ROLES, Action, sentence_of
from shared.events.commands import ALLOCATION_COMMANDS

_TITLES: Final = {
    "vendor": "Vendor",
    "primary": "Primary contact",
    "allocator": "Allocator",
    "viewer": "Viewer",
    "auditor": "Auditor",
    "useradmin": "User administrator",
}
_HEAD: Final = """# Who may do what

Written by `python -m services.allocation.domain.permission_table` from the table in
`services/allocation/domain/permissions.py`, which decides. Allocation decides on the verified actor that the command
carries; the API's own check only answers sooner.

- **Vendor**: an operator of the vendor, by the claim in the token.
- **Primary contact**: exactly one person per subscription.
- **Allocator, viewer, auditor, user administrator**: grants that the primary contact gives to people of the account.
- On an account (people, roles), a role on any of its subscriptions counts.
- Someone without a role gets `not_found`, or `forbidden` where the object is no secret (*).
- Someone with another role gets `forbidden`. Each answer, allowed or denied, is audited.
- Who is disabled or removed has no role. A vendor plans only with an override reason.

"""


def page() -> str:
    """Write the page, in Markdown."""
    return _HEAD + _permissions() + "\n" + _states()


def _permissions() -> str:
    rows = [["Command", *(_TITLES[role] for role in ROLES), "Others get"]]
    rows += [
        [_name(action), *("yes" if role in MAY[action] else "" for role in ROLES), sentence_of(action)]
        for action in ACTIONS
    ]
    return _table(rows)


def _name(action: Action) -> str:
    return f"`{action}`{' *' if action in OPEN else ''}"


def _states() -> str:
    """List which commands on a subscription each of its states permits."""
    needing = [action for action in ACTIONS if any(action in permitted for permitted in PERMITS.values())]
    rows = [["Command", *(f"`{state}`" for state in PERMITS), "Needs a pool"]]
    rows += [
        [
            f"`{action}`",
            *("yes" if action in permitted else "" for permitted in PERMITS.values()),
            "yes" if action in FLEX else "",
        ]
        for action in needing
    ]
    intro = (
        "## In which state of a subscription\n\n"
        "Otherwise the answer is `subscription_not_active`. What needs a pool answers `not_a_flex_subscription` on a "
        "subscription that is\nlicensed per product, and `feature_not_enabled` on an account without the feature.\n\n"
    )
    others = sorted(f"`{one}`" for one in _commands() - set(needing))
    return intro + _table(rows) + f"\nNot about the state of a subscription: {', '.join(others)}.\n"


def _commands() -> set[str]:
    return {one.event_type.split(".")[2] for one in ALLOCATION_COMMANDS}


def _table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|{'---|' * len(rows[0])}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
