"""Accounts, their people, and their roles."""

from collections.abc import Sequence

from services.reporting.domain import permissions
from services.reporting.domain import roles as domain
from services.reporting.domain.caller import Caller
from services.reporting.domain.people import AccountPerson, account_person, address_of
from services.reporting.domain.roles import RoleMember, RoleView
from services.reporting.queries.access import find_visible_account, is_role_id, not_found
from services.reporting.queries.people_visibility import PeopleVisibility, load_people_visibility
from services.reporting.store import accounts, people, products, roles
from services.reporting.store import subscriptions as store
from services.reporting.store.paging import Page
from shared.events.ids import PersonId
from shared.events.state import AccountState, PersonState, RoleState
from shared.runtime.postgres.pool import Connection, Pool


class AccountQueries:
    """Reads of accounts, their people and their roles."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def account(self, caller: Caller, account: str) -> AccountState:
        """Find one account, visible to the vendor and the account's people."""
        async with self._pool.acquire() as connection:
            return await find_visible_account(connection, caller, account)

    async def accounts(self, caller: Caller, limit: int, cursor: str | None) -> Page[AccountState]:
        """List all accounts for the vendor, else those of the caller's subscriptions."""
        person = None if caller.vendor else caller.email
        async with self._pool.acquire() as connection:
            return await accounts.list_accounts(connection, limit, cursor, person)

    async def people(self, caller: Caller, account: str, limit: int, cursor: str | None) -> Page[AccountPerson]:
        """List an account's people, each with their roles in its subscriptions."""
        async with self._pool.acquire() as connection:
            await find_visible_account(connection, caller, account, permissions.VIEW_PEOPLE)
            visibility = await load_people_visibility(connection, caller, [account])
            page = await people.list_people(connection, account, limit, cursor, sorted(visibility.hidden))
            return Page(await self._with_grants(connection, page.items, visibility), page.next_cursor)

    async def person(self, caller: Caller, account: str, email: str) -> AccountPerson:
        """Find a person of the account, removed or not."""
        async with self._pool.acquire() as connection:
            await find_visible_account(connection, caller, account, permissions.VIEW_PEOPLE)
            visibility = await load_people_visibility(connection, caller, [account])
            found = await people.find_person(connection, account, email)
            if found is None or found.id in visibility.hidden:
                raise not_found("person")
            return (await self._with_grants(connection, [found], visibility))[0]

    async def person_id(self, account: str, email: str) -> PersonId | None:
        """Find who has this address in the account; ``None``: nobody.

        For commands, whose owner decides what the caller may do and know.
        """
        async with self._pool.acquire() as connection:
            return await people.find_person_id(connection, email, account, None)

    async def _with_grants(
        self, connection: Connection, states: list[PersonState], visibility: PeopleVisibility
    ) -> list[AccountPerson]:
        if not states:
            return []
        grants = await store.load_grants(connection, [one.id for one in states])
        return [account_person(one, visibility.given(grants.get(one.id, ()))) for one in states]

    async def roles(
        self, caller: Caller, account: str, limit: int, cursor: str | None, product: str | None = None
    ) -> Page[RoleView]:
        """List an account's roles, each with its difference from the default."""
        async with self._pool.acquire() as connection:
            await find_visible_account(connection, caller, account, permissions.VIEW_PEOPLE)
            page = await roles.list_roles(connection, account, limit, cursor, product)
            catalogue = await products.find_products(connection, {one.product for one in page.items})
            members = await self._members(connection, caller, account, page.items)
        return Page(
            [domain.view_role(one, catalogue.get(one.product), members[one.role]) for one in page.items],
            page.next_cursor,
        )

    async def role(self, caller: Caller, account: str, role: str) -> RoleView:
        """Find a role of the account."""
        async with self._pool.acquire() as connection:
            state = await self._role(connection, caller, account, role)
            catalogue = await products.find_products(connection, [state.product])
            members = await self._members(connection, caller, account, [state])
        return domain.view_role(state, catalogue.get(state.product), members[state.role])

    async def members(self, caller: Caller, account: str, role: str) -> list[RoleMember]:
        """List the members of a role, by e-mail."""
        async with self._pool.acquire() as connection:
            state = await self._role(connection, caller, account, role)
            shown = (await load_people_visibility(connection, caller, [account])).shown(state.members)
            known = await people.find_people(connection, shown)
        return sorted((domain.role_member(one, known.get(one)) for one in shown), key=lambda one: one.email)

    async def _members(
        self, connection: Connection, caller: Caller, account: str, states: Sequence[RoleState]
    ) -> dict[str, list[str]]:
        """Return, by role, the addresses of those members whom the caller may see."""
        visibility = await load_people_visibility(connection, caller, [account])
        shown = {one.role: visibility.shown(one.members) for one in states}
        known = await people.find_people(connection, {person for some in shown.values() for person in some})
        return {role: [address_of(person, known) for person in some] for role, some in shown.items()}

    async def _role(self, connection: Connection, caller: Caller, account: str, role: str) -> RoleState:
        await find_visible_account(connection, caller, account, permissions.VIEW_PEOPLE)
        state = await roles.find_role(connection, account, role) if is_role_id(role) else None
        if state is None:
            raise not_found("role")
        return state
