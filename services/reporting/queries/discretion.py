"""Whom of an account a caller may know: not those who belong only to subscriptions whose people they may not see."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.reporting.domain import permissions
from services.reporting.domain.caller import Caller
from services.reporting.store import subscriptions as store
from shared.runtime.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class Discretion:
    """What is kept from a caller: ``hidden`` are accounts with e-mails; of ``seen`` subscriptions (``None``: of all)
    they see who was given what.
    """

    seen: frozenset[str] | None = None
    hidden: frozenset[tuple[str, str]] = frozenset()

    def hides(self, account: str, email: str) -> bool:
        """Whether the caller may not know that somebody belongs to the account."""
        return (account, email) in self.hidden

    def hidden_of(self, account: str) -> list[str]:
        """Those of one account."""
        return sorted(email for of, email in self.hidden if of == account)

    def shown(self, account: str, emails: Iterable[str]) -> list[str]:
        """Those that are not hidden, in order."""
        return sorted(email for email in emails if not self.hides(account, email))

    def given(self, grants: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Subscriptions and roles, without the subscriptions that the caller may not know."""
        return [one for one in grants if self.seen is None or one[0] in self.seen]

    def without_hidden(self, account: str, state: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """A state of the audit log, which may name the members of a role."""
        if state is None or not isinstance(members := state.get("members"), list):
            return None if state is None else dict(state)
        return {**state, "members": [one for one in members if not self.hides(account, str(one))]}


async def discretion(
    connection: Connection, caller: Caller, accounts: Collection[str], permission: str = permissions.VIEW_PEOPLE
) -> Discretion:
    """What is kept from a caller in these accounts; ``permission`` is what shows the people of a subscription.

    Somebody is hidden who was given something in the account, and all of it in subscriptions where the caller has not
    that permission. Whoever was given nothing is the account's, and not hidden.
    """
    if caller.vendor:
        return Discretion()
    seen = await store.find_ids_by_role(connection, caller.email, permissions.roles_with(permission))
    return Discretion(frozenset(seen), frozenset(await store.find_people_beyond(connection, accounts, seen)))
