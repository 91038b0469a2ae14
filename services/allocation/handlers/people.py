"""Commands on people, and on their rights on subscriptions.

Locks are taken in this order: subscriptions by their ids, people, roles by their ids.
"""

from collections.abc import Sequence
from typing import Any

from services.allocation.domain import people
from services.allocation.domain.subscriptions import Subscription
from services.allocation.handlers.contacts import save_person
from services.allocation.handlers.context import Context, actor_of
from services.allocation.handlers.preconditions import on_account
from services.allocation.handlers.publishing import publish
from services.allocation.handlers.roles import members_changed, write_role
from services.allocation.handlers.subscription_lock import bring_up_to_date, on_subscription
from services.allocation.store.people import (
    find_by_role,
    find_granting,
    find_led_by,
    load_grants,
    lock_person,
    lock_subscriptions_of,
    replace_grants,
    set_primary_contact,
    share_lock_person,
)
from services.allocation.store.roles import find_held, lock_role, set_member
from services.allocation.store.subscriptions import lock_subscription, update_subscription
from shared.events.allocation import GrantsChanged, PrimaryContactChanged
from shared.events.commands.accounts import AddPerson, ChangePerson, RemovePerson
from shared.events.commands.subscriptions import SetGrants, SetPrimaryContact
from shared.events.envelope import Event
from shared.events.ids import AccountId, RoleId, SubscriptionId
from shared.events.refusals import Refusal
from shared.events.state import Person, PersonState, RoleState
from shared.runtime.commands.decisions import Decision
from shared.runtime.delivery.transaction import Transaction


def _object_of(command: AddPerson | ChangePerson | RemovePerson) -> str:
    return f"account/{command.account}/person/{command.email}"


@on_account("add-person", _object_of)
async def add_person(tx: Transaction, command: Event[AddPerson], context: Context) -> Decision:
    """Add a person to an account."""
    asked = command.data
    before = await lock_person(tx.connection, asked.account, asked.email)
    after = people.add(before, asked)
    if isinstance(after, Refusal):
        return context.refused(after)
    await save_person(tx, before, after)
    return context.accepted(after.email, after.version, before=_audited(before), after=_audited(after))


@on_account("change-person", _object_of)
async def change_person(tx: Transaction, command: Event[ChangePerson], context: Context) -> Decision:
    """Change a person's name, or disable or enable them."""
    asked = command.data
    await lock_subscriptions_of(tx.connection, asked.account)
    before = await lock_person(tx.connection, asked.account, asked.email)
    led = await find_led_by(tx.connection, asked.account, asked.email)
    reach = await _reach(tx, command, asked.account, asked.email)
    if reach and (refusal := reach.change_refusal()):
        return context.refused(refusal)
    after = people.change(before, asked, is_primary=bool(led))
    if isinstance(after, Refusal):
        return context.refused(after)
    if before is not None and after is not before:
        roles = await _roles_of(tx, asked.account, asked.email)
        await save_person(tx, before, after)
        if after.name != before.name:
            await _rename_primary(tx, led, after)
        if after.enabled != before.enabled:
            await _publish_grants(tx, await find_granting(tx.connection, asked.account, asked.email), asked.email)
            await _publish_roles(tx, roles)
    return context.accepted(after.email, after.version, before=_audited(before), after=_audited(after))


@on_account("remove-person", _object_of)
async def remove_person(tx: Transaction, command: Event[RemovePerson], context: Context) -> Decision:
    """Remove a person with their grants and role memberships. Their history stays."""
    asked = command.data
    await lock_subscriptions_of(tx.connection, asked.account)
    before = await lock_person(tx.connection, asked.account, asked.email)
    is_primary = bool(await find_led_by(tx.connection, asked.account, asked.email))
    reach = await _reach(tx, command, asked.account, asked.email)
    if reach and (refusal := reach.remove_refusal()):
        return context.refused(refusal)
    after = people.remove(before, tx.now, is_primary=is_primary)
    if isinstance(after, Refusal):
        return context.refused(after)
    granting = await find_granting(tx.connection, asked.account, asked.email)
    roles = await _roles_of(tx, asked.account, asked.email)
    for subscription in granting:
        await replace_grants(tx.connection, subscription, asked.email, ())
    for role in roles:
        await set_member(tx.connection, role, asked.email, member=False)
    await save_person(tx, before, after)
    await _publish_grants(tx, granting, asked.email)
    await _publish_roles(tx, roles)
    return context.accepted(after.email, after.version, before=_audited(before), after=_audited(after))


@on_subscription("set-primary-contact")
async def hand_over(
    tx: Transaction, command: Event[SetPrimaryContact], context: Context, before: Subscription
) -> Decision:
    """Hand a subscription over to another primary contact."""
    asked = command.data
    person = await share_lock_person(tx.connection, before.state.account, asked.email)
    after = people.hand_over(before, person, tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    contact = before.state.primary_contact
    if after is not before:
        await replace_grants(tx.connection, asked.subscription, asked.email, ())
        await set_primary_contact(tx.connection, asked.subscription, after.state.primary_contact)
        await update_subscription(tx.connection, after)
        await publish(tx, asked.subscription, PrimaryContactChanged(subscription=after.state, before=contact))
    return context.accepted(
        asked.subscription,
        after.state.version,
        before={"primary_contact": contact.email},
        after={"primary_contact": after.state.primary_contact.email},
    )


@on_subscription("set-grants")
async def set_grants(tx: Transaction, command: Event[SetGrants], context: Context, before: Subscription) -> Decision:
    """Set a person's grants on a subscription.

    Setting the present grants changes nothing.
    """
    asked = command.data
    person = await share_lock_person(tx.connection, before.state.account, asked.email)
    if refusal := people.grant_refusal(before, person, asked.email, asked.grants, tx.now):
        return context.refused(refusal)
    had = await load_grants(tx.connection, asked.subscription, asked.email)
    version = before.state.version
    if set(had) != set(asked.grants):
        await replace_grants(tx.connection, asked.subscription, asked.email, asked.grants)
        (version,) = await _publish_grants(tx, [asked.subscription], asked.email)
    return context.accepted(
        asked.subscription,
        version,
        before={"email": asked.email, "grants": list(had)},
        after={"email": asked.email, "grants": sorted(asked.grants)},
    )


async def _reach(tx: Transaction, command: Event[Any], account: AccountId, email: str) -> people.Reach | None:
    """Return which of this person's subscriptions the actor administers.

    ``None`` means no limit, for the vendor.
    """
    actor = actor_of(command)
    if actor.is_vendor:
        return None
    return people.Reach(
        frozenset(
            [*await find_led_by(tx.connection, account, email), *await find_granting(tx.connection, account, email)]
        ),
        await find_by_role(tx.connection, account, actor.email, ("useradmin",)),
        await find_by_role(tx.connection, account, actor.email, ("useradmin", "auditor")),
    )


async def _rename_primary(tx: Transaction, led: Sequence[SubscriptionId], person: PersonState) -> None:
    for subscription in led:
        before = await _up_to_date(tx, subscription)
        if before is not None:
            contact = Person(email=person.email, name=person.name)
            after = before.changed(tx.now, primary_contact=contact)
            await set_primary_contact(tx.connection, subscription, contact)
            await update_subscription(tx.connection, after)
            event = PrimaryContactChanged(subscription=after.state, before=before.state.primary_contact)
            await publish(tx, subscription, event)


async def _publish_grants(tx: Transaction, subscriptions: Sequence[SubscriptionId], email: str) -> list[int]:
    """Publish the next version of each of these subscriptions; return the versions.

    The grants of the subscriptions are saved already.
    """
    versions = []
    for subscription in subscriptions:
        loaded = await _up_to_date(tx, subscription)
        if loaded is not None:
            after = loaded.changed(tx.now)
            await update_subscription(tx.connection, after)
            await publish(tx, subscription, GrantsChanged(subscription=after.state, email=email))
            versions.append(after.state.version)
    return versions


async def _up_to_date(tx: Transaction, subscription: SubscriptionId) -> Subscription | None:
    found = await lock_subscription(tx.connection, subscription)
    return await bring_up_to_date(tx, found) if found else None


async def _roles_of(tx: Transaction, account: AccountId, email: str) -> list[RoleState]:
    """Lock the person's roles; return them as they are before the change."""
    ids: list[RoleId] = await find_held(tx.connection, account, email)
    return [role for one in ids if (role := await lock_role(tx.connection, account, one))]


async def _publish_roles(tx: Transaction, roles: Sequence[RoleState]) -> None:
    for role in roles:
        await write_role(tx, role, await members_changed(tx, role))


def _audited(person: PersonState | None) -> dict[str, Any] | None:
    return person.model_dump(mode="json", exclude={"account"}) if person else None
