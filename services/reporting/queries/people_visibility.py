"""Which people of an account a caller may see.

People are hidden who belong only to subscriptions whose people the caller may not see.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from services.reporting.domain import permissions
from services.reporting.domain.caller import Caller
from services.reporting.store import subscriptions as store
from shared.runtime.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class PeopleVisibility:
    """The people and subscriptions that one caller may see.

    ``hidden``: people that the caller may not see: their account by their id.
    ``seen``: ids of the subscriptions whose people the caller may see; ``None``: all.
    """

    seen: frozenset[str] | None = None
    hidden: Mapping[str, str] = field(default_factory=dict)

    def shown(self, people: Iterable[str]) -> list[str]:
        """Filter people by id.

        Those whom the caller may not see are left out.
        """
        return [person for person in people if person not in self.hidden]

    def given(self, grants: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Filter pairs of subscription and role.

        Subscriptions whose people the caller may not see are left out.
        """
        return [one for one in grants if self.seen is None or one[0] in self.seen]


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
    return PeopleVisibility(frozenset(seen), await store.find_people_outside(connection, accounts, seen))
