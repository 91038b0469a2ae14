"""Which people of an account a caller may see.

People are hidden who belong only to subscriptions whose people the caller may not see.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.reporting.domain import permissions
from services.reporting.domain.caller import Caller
from services.reporting.store import subscriptions as store
from shared.runtime.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class PeopleVisibility:
    """The people and subscriptions that one caller may see.

    ``hidden``: pairs of account and e-mail address that the caller may not see.
    ``seen``: ids of the subscriptions whose people the caller may see; ``None``: all.
    """

    seen: frozenset[str] | None = None
    hidden: frozenset[tuple[str, str]] = frozenset()

    def hides(self, account: str, email: str) -> bool:
        """Whether the caller may not see this person in the account."""
        return (account, email) in self.hidden

    def hidden_of(self, account: str) -> list[str]:
        """Sorted e-mail addresses of the account's people that the caller may not see."""
        return sorted(email for of, email in self.hidden if of == account)

    def shown(self, account: str, emails: Iterable[str]) -> list[str]:
        """Sort ``emails`` and leave out those that the caller may not see in the account."""
        return sorted(email for email in emails if not self.hides(account, email))

    def given(self, grants: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Filter pairs of subscription and role.

        Subscriptions whose people the caller may not see are left out.
        """
        return [one for one in grants if self.seen is None or one[0] in self.seen]

    def without_hidden(self, account: str, state: Mapping[str, object] | None) -> dict[str, Any] | None:
        """Copy a state of the audit log without hidden people.

        They are left out of its ``members``, if it has them.
        """
        if state is None or not isinstance(members := state.get("members"), list):
            return None if state is None else dict(state)
        return {**state, "members": [one for one in members if not self.hides(account, str(one))]}


async def load_people_visibility(
    connection: Connection, caller: Caller, accounts: Collection[str], permission: str = permissions.VIEW_PEOPLE
) -> PeopleVisibility:
    """Load which people of these accounts the caller may see.

    ``permission``: the permission that shows the people of a subscription. A person is hidden whose grants in the
    account are all on subscriptions where the caller lacks it. A person without any grant is visible.
    """
    if caller.vendor:
        return PeopleVisibility()
    seen = await store.find_ids_by_role(connection, caller.email, permissions.roles_with(permission))
    return PeopleVisibility(frozenset(seen), frozenset(await store.find_people_outside(connection, accounts, seen)))
