"""The catalogue, the price list, quotes, and the applications of products."""

from collections.abc import Callable
from datetime import datetime

from services.reporting.domain import applications, permissions, quotes
from services.reporting.domain.applications import ApplicationSummary, ApplicationView
from services.reporting.domain.caller import Caller
from services.reporting.domain.quotes import QuotedUnits
from services.reporting.queries.access import find_visible, find_visible_account, is_id, not_found
from services.reporting.queries.people_visibility import load_people_visibility
from services.reporting.store import people, price_lists, products, roles
from services.reporting.store import subscriptions as store
from services.reporting.store.paging import Page
from shared.events.refusals import Refusal
from shared.events.state import PriceList, ProductState
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Connection, Pool

MOST_ROLES = 1000
"""Most roles that the central view of all accounts reads."""


class CatalogueQueries:
    """Reads of the catalogue, of prices and of applications."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock

    async def product(self, product: str) -> ProductState:
        """Find one product of the catalogue."""
        async with self._pool.acquire() as connection:
            return await _find_product(connection, product)

    async def is_product(self, product: str) -> bool:
        """Whether the catalogue has the product, retired or not."""
        async with self._pool.acquire() as connection:
            return is_id(product) and product in await products.find_products(connection, [product])

    async def products(self, limit: int, cursor: str | None) -> Page[ProductState]:
        """List the catalogue."""
        async with self._pool.acquire() as connection:
            return await products.list_products(connection, limit, cursor)

    async def price_list(self) -> PriceList:
        """Return the price list in force.

        Raises:
            ProblemError: ``not_found``, until the vendor has set one.
        """
        async with self._pool.acquire() as connection:
            return await _find_price_list(connection)

    async def quote(self, caller: Caller, units: int, subscription: str | None) -> QuotedUnits:
        """Quote ``units`` for the rest of a subscription's term, its renewal, or a year.

        Raises:
            ProblemError: ``not_found``, also without a price list; ``forbidden``; ``not_a_flex_subscription``;
                ``subscription_not_active``; ``invalid_request``.
        """
        async with self._pool.acquire() as connection:
            state = await find_visible(connection, caller, subscription) if subscription else None
            price_list = await _find_price_list(connection)
        quoted = quotes.quote_units(price_list, units, state, self._clock())
        if isinstance(quoted, Refusal):
            raise ProblemError(quoted)
        return quoted

    async def applications(self, limit: int, cursor: str | None) -> Page[ApplicationSummary]:
        """List products with a summary of their default roles."""
        async with self._pool.acquire() as connection:
            page = await products.list_products(connection, limit, cursor)
        return Page([applications.summarise_application(state) for state in page.items], page.next_cursor)

    async def application(self, caller: Caller, product: str, account: str | None = None) -> ApplicationView:
        """Build the central view of a product: default roles and holders of permissions.

        Holders are those of ``account``, else of every account whose people the caller may see.

        Raises:
            ProblemError: ``not_found``; ``forbidden``.
        """
        async with self._pool.acquire() as connection:
            state = await _find_product(connection, product)
            wanted = await self._accounts_seen(connection, caller, account)
            held = await roles.list_held_roles(connection, product, wanted, MOST_ROLES + 1)
            visibility = await load_people_visibility(connection, caller, wanted or ())
            shown = [
                role.model_copy(update={"members": tuple(visibility.shown(role.members))}) for role in held[:MOST_ROLES]
            ]
            known = await people.find_people(connection, {person for role in shown for person in role.members})
        return applications.view_application(state, shown, known, complete=len(held) <= MOST_ROLES)

    async def _accounts_seen(self, connection: Connection, caller: Caller, account: str | None) -> list[str] | None:
        if account is not None:
            await find_visible_account(connection, caller, account, permissions.VIEW_PEOPLE)
            return [account]
        if caller.vendor:
            return None
        seeing = permissions.roles_with(permissions.VIEW_PEOPLE)
        return await store.find_accounts_by_role(connection, caller.email, seeing)


async def _find_product(connection: Connection, product: str) -> ProductState:
    found = await products.find_products(connection, [product]) if is_id(product) else {}
    if product not in found:
        raise not_found("product")
    return found[product]


async def _find_price_list(connection: Connection) -> PriceList:
    found = await price_lists.find_price_list(connection)
    if found is None:
        raise not_found("price list")
    return found
