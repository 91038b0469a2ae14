"""Subscriptions: what was bought, allocated and consumed, and their alerts."""

from collections.abc import Callable, Sequence
from datetime import datetime

from services.reporting.domain import permissions
from services.reporting.domain.alerts import CurrentAlert, MaskedChannel, current_alert, mask_channel
from services.reporting.domain.caller import Caller
from services.reporting.domain.current_term import current_window
from services.reporting.domain.me import Me, me_of
from services.reporting.domain.overview import Overview
from services.reporting.domain.people import DelegateGrants, delegate_grants
from services.reporting.domain.purchases import PurchaseLot, lots_of
from services.reporting.domain.summaries import SubscriptionSummary, summary_of
from services.reporting.queries.access import find_visible, is_id, not_found
from services.reporting.queries.overviews import load_overview_source
from services.reporting.queries.shown_people import show_people
from services.reporting.store import alerts, allocations, consumption, people
from services.reporting.store import subscriptions as store
from services.reporting.store.allocations import AllocationRow
from services.reporting.store.consistent_read import consistent_read
from services.reporting.store.paging import Page
from shared.events.commands.plans import SeenConsumption
from shared.events.ids import PersonId
from shared.events.state import SubscriptionState
from shared.runtime.postgres.pool import Connection, Pool

NEWEST_ALERTS = 200
LISTED_IN_ME = 200


class SubscriptionQueries:
    """Reads on the read models."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock

    # ---- the caller ------------------------------------------------------------------------------------------------

    async def me(self, caller: Caller) -> Me:
        """Describe the caller with at most 200 subscriptions, their own first.

        Vendor operators find the rest in the list.
        """
        async with self._pool.acquire() as connection:
            mine = await list_own(connection, caller)
            if caller.vendor and len(mine) < LISTED_IN_ME:
                known = {one.id for one in mine}
                every = await store.list_subscriptions(connection, LISTED_IN_ME, None)
                mine += [one for one in every.items if one.id not in known][: LISTED_IN_ME - len(mine)]
            return await load_me(connection, caller, mine)

    # ---- subscriptions ---------------------------------------------------------------------------------------------

    async def subscriptions(
        self, caller: Caller, limit: int, cursor: str | None, account: str | None = None
    ) -> Page[SubscriptionSummary]:
        """List summaries of all subscriptions for the vendor, else of the caller's."""
        person = None if caller.vendor else caller.email
        async with self._pool.acquire() as connection:
            page = await store.list_subscriptions(connection, limit, cursor, person=person, account=account)
            contacts = await people.find_people(connection, [state.primary_contact for state in page.items])
        now = self._clock()
        return Page(
            [summary_of(state, contacts.get(state.primary_contact), now) for state in page.items], page.next_cursor
        )

    async def subscription(
        self, caller: Caller, subscription: str, permission: str = permissions.VIEW
    ) -> SubscriptionState:
        """Find a subscription's whole state, if the caller has the permission.

        Raises:
            ProblemError: ``not_found``; ``forbidden``.
        """
        async with self._pool.acquire() as connection:
            return await find_visible(connection, caller, subscription, permission)

    async def overview(self, caller: Caller, subscription: str) -> Overview:
        """Compute the subscription's overview at one instant. Its ``version`` is its ETag.

        Raises:
            ProblemError: ``not_found``; ``forbidden`` for user administrators.
        """
        async with consistent_read(self._pool) as connection:
            source = await load_overview_source(connection, caller, subscription, self._clock())
        return source.overview()

    async def version(self, caller: Caller, subscription: str) -> int | None:
        """Return the version of a subscription.

        ``None``: it is unknown, or the caller has no role in it.
        """
        async with self._pool.acquire() as connection:
            found = await store.find_with_roles(connection, subscription, caller.email) if is_id(subscription) else None
        return found[0].version if found and permissions.sort_roles(caller, found[1]) else None

    async def purchases(self, caller: Caller, subscription: str) -> list[PurchaseLot]:
        """List the lots, newest first."""
        async with self._pool.acquire() as connection:
            state = await find_visible(connection, caller, subscription)
            return await show_people(connection, lots_of(state, self._clock()), "void_reason")

    async def grants(self, caller: Caller, subscription: str) -> list[DelegateGrants]:
        """List the delegates' grants, by e-mail."""
        async with self._pool.acquire() as connection:
            state = await find_visible(connection, caller, subscription, permissions.VIEW_PEOPLE)
            delegates = {one.person for one in state.grants}
            known = await people.find_people(connection, delegates)
        return sorted((delegate_grants(state, one, known.get(one)) for one in delegates), key=lambda one: one.email)

    async def grant(self, caller: Caller, subscription: str, email: str) -> DelegateGrants:
        """Return the grants of a known person, of which there may be none.

        Raises:
            ProblemError: ``not_found``, also for people unknown in the account; ``forbidden``.
        """
        async with self._pool.acquire() as connection:
            state = await find_visible(connection, caller, subscription, permissions.VIEW_PEOPLE)
            person = await people.find_person(connection, state.account, email)
        if person is None:
            raise not_found("person")
        return delegate_grants(state, person.id, person)

    async def person_id(self, subscription: str, email: str) -> PersonId | None:
        """Find who has this address in the subscription's account; ``None``: nobody.

        For commands, whose owner decides what the caller may do and know.
        """
        async with self._pool.acquire() as connection:
            return await people.find_person_id(connection, email, None, subscription)

    async def allocations(
        self, caller: Caller, subscription: str, limit: int, cursor: str | None, product: str | None = None
    ) -> Page[AllocationRow]:
        """List the history of allocations, newest first."""
        async with self._pool.acquire() as connection:
            await find_visible(connection, caller, subscription)
            page = await allocations.list_changes(connection, subscription, limit, cursor, product)
            return Page(await show_people(connection, page.items, "actor", "reason"), page.next_cursor)

    async def seen(self, subscription: str, wanted: Sequence[str]) -> tuple[SeenConsumption, ...]:
        """Return the revisions of products' consumption that reads show now.

        They are of the current and the last closed window.
        """
        async with self._pool.acquire() as connection:
            state = await store.find_subscription(connection, subscription)
            if state is None:
                return ()
            window = current_window(state, self._clock())
            rows = await consumption.load_term(
                connection, subscription, state.calendar.before(window).start, window.start
            )
        return tuple(
            SeenConsumption(product=row.product, window_start=row.window_start, revision=row.revision)
            for row in rows
            if row.product in wanted
        )

    # ---- alerts ----------------------------------------------------------------------------------------------------

    async def alerts(
        self, caller: Caller, subscription: str, limit: int, cursor: str | None, *, active_only: bool = False
    ) -> Page[CurrentAlert]:
        """List alerts, newest first, each with its value when raised and now."""
        async with consistent_read(self._pool) as connection:
            source = await load_overview_source(connection, caller, subscription, self._clock())
            page = await alerts.list_alerts(connection, subscription, limit, cursor, active_only=active_only)
            shown = await show_people(connection, page.items, "acknowledged_by")
        overview = source.overview()
        return Page([current_alert(one, overview) for one in shown], page.next_cursor)

    async def alert(self, caller: Caller, subscription: str, alert: str) -> CurrentAlert:
        """Find one alert, with its value when raised and now."""
        async with consistent_read(self._pool) as connection:
            source = await load_overview_source(connection, caller, subscription, self._clock())
            found = await alerts.find_alert(connection, subscription, alert)
            if found is None:
                raise not_found("alert")
            (shown,) = await show_people(connection, [found], "acknowledged_by")
        return current_alert(shown, source.overview())

    async def channels(self, caller: Caller, subscription: str, limit: int, cursor: str | None) -> Page[MaskedChannel]:
        """List the subscription's alert channels."""
        async with self._pool.acquire() as connection:
            await find_visible(connection, caller, subscription)
            page = await alerts.list_channels(connection, subscription, limit, cursor)
            shown = await show_people(connection, page.items, "created_by")
        return Page([mask_channel(one) for one in shown], page.next_cursor)

    async def channel(self, caller: Caller, subscription: str, channel: str) -> MaskedChannel:
        """Find one channel, removed or not."""
        async with self._pool.acquire() as connection:
            await find_visible(connection, caller, subscription)
            found = await alerts.find_channel(connection, subscription, channel)
            if found is None:
                raise not_found("channel")
            (shown,) = await show_people(connection, [found], "created_by")
        return mask_channel(shown)


async def list_own(connection: Connection, caller: Caller) -> list[SubscriptionState]:
    """List the subscriptions in which the caller has a role, at most 200."""
    page = await store.list_subscriptions(connection, LISTED_IN_ME, None, person=caller.email)
    return list(page.items)


async def load_me(connection: Connection, caller: Caller, subscriptions: Sequence[SubscriptionState]) -> Me:
    """Describe the caller and their permissions in these subscriptions."""
    held = await store.load_roles(connection, caller.email, [one.id for one in subscriptions])
    return me_of(caller, subscriptions, held)
