"""Commands on people, and on their rights on subscriptions.

Locks are taken in this order: subscriptions by their ids, people, roles by their ids.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.allocation.domain import people
from services.allocation.domain.subscriptions import Subscription
from services.allocation.handlers.contacts import new_person, save_person
from services.allocation.handlers.context import Context, actor_of
from services.allocation.handlers.preconditions import on_account
from services.allocation.handlers.publishing import publish
from services.allocation.handlers.roles import members_changed, write_role
from services.allocation.handlers.subscription_lock import bring_up_to_date, on_subscription
from services.allocation.store.people import (
    find_by_role,
    find_granting,
    find_led_by,
    find_without_account,
    load_grants,
    lock_person,
    lock_person_of,
    lock_subscriptions_of,
    replace_grants,
    set_primary_contact,
    share_lock_person,
)
from services.allocation.store.roles import find_held, lock_role, set_member
from services.allocation.store.subscriptions import lock_subscription, update_subscription
from shared.events.allocation import GrantsChanged, PrimaryContactChanged
from shared.events.commands.accounts import AddPerson, ChangePerson, IntroducePerson, RemovePerson
from shared.events.commands.subscriptions import SetGrants, SetPrimaryContact
from shared.events.envelope import Event
from shared.events.erasure import object_of
from shared.events.ids import AccountId, PersonId, RoleId, SubscriptionId
from shared.events.outcomes import SYSTEM
from shared.events.refusals import Refusal
from shared.events.state import Person, PersonState, RoleState
from shared.runtime.commands.decisions import Decision
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.sealed_text import seal_text


def _object_of(command: ChangePerson | RemovePerson) -> str:
    return object_of(command.account, command.person)


async def introduce_person(tx: Transaction, command: Event[IntroducePerson]) -> Decision:
    """Make a person without an account, unless there is one with this address.

    Nobody but reporting itself may; it verified the address.
    """
    asked = command.data
    context = Context("introduce-person", object_of(None, None))
    if command.actor != SYSTEM:
        return context.refused(Refusal(code="forbidden", message="Only the system introduces people."))
    person = await find_without_account(tx.connection, asked.email)
    if person is None:
        person = people.introduce(Person(email=asked.email, name=asked.name), new_person())
        await save_person(tx, None, person)
    return replace(context, object=object_of(None, person.id)).accepted(person.id, person.version)


@on_account("add-person", lambda command: object_of(command.account, None))
async def add_person(tx: Transaction, command: Event[AddPerson], context: Context) -> Decision:
    """Add a person to an account."""
    asked = command.data
    before = await lock_person_of(tx.connection, asked.account, asked.email)
    after = people.add(before, asked, new_person())
    if before is not None:
        context = replace(context, object=object_of(asked.account, before.id))
    if isinstance(after, Refusal):
        return context.refused(after)
    await save_person(tx, before, after)
    context = replace(context, object=object_of(asked.account, after.id))
    return context.accepted(after.id, after.version, before=_audited(before), after=_audited(after))


@on_account("change-person", _object_of)
async def change_person(tx: Transaction, command: Event[ChangePerson], context: Context) -> Decision:
    """Change a person's address or name, or disable or enable them."""
    asked = command.data
    await lock_subscriptions_of(tx.connection, asked.account)
    before = await lock_person(tx.connection, asked.account, asked.person)
    if before is None:
        return context.refused(Refusal.not_found("person"))
    reach = await load_reach(tx, command, before.id)
    if reach and (refusal := reach.change_refusal()):
        return context.refused(refusal)
    other = await lock_person_of(tx.connection, asked.account, asked.email) if asked.email else None
    after = people.change(
        before,
        asked,
        is_primary=bool(await find_led_by(tx.connection, before.id)),
        is_taken=other is not None and other.id != before.id,
    )
    if isinstance(after, Refusal):
        return context.refused(after)
    if after is not before:
        roles = await _roles_of(tx, asked.account, before)
        await save_person(tx, before, after)
        if after.enabled != before.enabled:
            await _publish_grants(tx, await find_granting(tx.connection, before.id), before.id)
            await _publish_roles(tx, roles)
    return context.accepted(after.id, after.version, before=_audited(before), after=_audited(after))


@on_account("remove-person", _object_of)
async def remove_person(tx: Transaction, command: Event[RemovePerson], context: Context) -> Decision:
    """Remove a person with their grants and role memberships. Their history stays."""
    asked = command.data
    await lock_subscriptions_of(tx.connection, asked.account)
    before = await lock_person(tx.connection, asked.account, asked.person)
    if before is None:
        return context.refused(Refusal.not_found("person"))
    reach = await load_reach(tx, command, before.id)
    if reach and (refusal := reach.remove_refusal()):
        return context.refused(refusal)
    after = people.remove(before, tx.now, is_primary=bool(await find_led_by(tx.connection, before.id)))
    if isinstance(after, Refusal):
        return context.refused(after)
    await withdraw(tx, asked.account, before)
    await save_person(tx, before, after)
    return context.accepted(after.id, after.version, before=_audited(before), after=_audited(after))


@on_subscription("set-primary-contact")
async def hand_over(
    tx: Transaction, command: Event[SetPrimaryContact], context: Context, before: Subscription
) -> Decision:
    """Hand a subscription over to another primary contact."""
    asked = command.data
    person = await share_lock_person(tx.connection, before.state.account, asked.person)
    after = people.hand_over(before, person, tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    contact = before.state.primary_contact
    if after is not before:
        await replace_grants(tx.connection, asked.subscription, after.state.primary_contact, ())
        await set_primary_contact(tx.connection, asked.subscription, after.state.primary_contact)
        await update_subscription(tx.connection, after)
        await publish(tx, asked.subscription, PrimaryContactChanged(subscription=after.state, before=contact))
    return context.accepted(
        asked.subscription,
        after.state.version,
        before={"primary_contact": contact},
        after={"primary_contact": after.state.primary_contact},
    )


@on_subscription("set-grants")
async def set_grants(tx: Transaction, command: Event[SetGrants], context: Context, before: Subscription) -> Decision:
    """Set a person's grants on a subscription.

    Setting the present grants changes nothing.
    """
    asked = command.data
    person = await share_lock_person(tx.connection, before.state.account, asked.person)
    if refusal := people.grant_refusal(before, person, asked.grants, tx.now):
        return context.refused(refusal)
    version = before.state.version
    if person is None:  # nothing can be taken from nobody
        return context.accepted(asked.subscription, version)
    had = await load_grants(tx.connection, asked.subscription, person.id)
    if set(had) != set(asked.grants):
        await replace_grants(tx.connection, asked.subscription, person.id, asked.grants)
        (version,) = await _publish_grants(tx, [asked.subscription], person.id)
    return context.accepted(
        asked.subscription,
        version,
        before={"person": person.id, "grants": list(had)},
        after={"person": person.id, "grants": sorted(asked.grants)},
    )


async def withdraw(tx: Transaction, account: AccountId, person: PersonState) -> dict[str, int]:
    """Take all grants and roles from a person; return how many there were.

    The account's subscriptions and the person are locked.
    """
    granting = await find_granting(tx.connection, person.id)
    roles = await _roles_of(tx, account, person)
    for subscription in granting:
        await replace_grants(tx.connection, subscription, person.id, ())
    for role in roles:
        await set_member(tx.connection, role, person.id, member=False)
    await _publish_grants(tx, granting, person.id)
    await _publish_roles(tx, roles)
    return {"subscriptions": len(granting), "roles": len(roles)}


async def load_reach(tx: Transaction, command: Event[Any], person: PersonId) -> people.Reach | None:
    """Return which of this person's subscriptions the actor administers.

    ``None`` means no limit, for the vendor.
    """
    actor = actor_of(command)
    if actor.is_vendor:
        return None
    return people.Reach(
        frozenset([*await find_led_by(tx.connection, person), *await find_granting(tx.connection, person)]),
        await find_by_role(tx.connection, actor.person, ("useradmin",)),
        await find_by_role(tx.connection, actor.person, ("useradmin", "auditor")),
    )


async def _publish_grants(tx: Transaction, subscriptions: Sequence[SubscriptionId], person: PersonId) -> list[int]:
    """Publish the next version of each of these subscriptions; return the versions.

    The grants of the subscriptions are saved already.
    """
    versions = []
    for subscription in subscriptions:
        loaded = await _up_to_date(tx, subscription)
        if loaded is not None:
            after = loaded.changed(tx.now)
            await update_subscription(tx.connection, after)
            await publish(tx, subscription, GrantsChanged(subscription=after.state, person=person))
            versions.append(after.state.version)
    return versions


async def _up_to_date(tx: Transaction, subscription: SubscriptionId) -> Subscription | None:
    found = await lock_subscription(tx.connection, subscription)
    return await bring_up_to_date(tx, found) if found else None


async def _roles_of(tx: Transaction, account: AccountId, person: PersonState) -> list[RoleState]:
    """Lock the person's roles; return them as they are before the change."""
    ids: list[RoleId] = await find_held(tx.connection, person.id)
    return [role for one in ids if (role := await lock_role(tx.connection, account, one))]


async def _publish_roles(tx: Transaction, roles: Sequence[RoleState]) -> None:
    for role in roles:
        await write_role(tx, role, await members_changed(tx, role))


def _audited(person: PersonState | None) -> dict[str, Any] | None:
    """Return what is recorded of a person, with address and name sealed."""
    if person is None:
        return None
    sealed = {name: seal_text(getattr(person, name), person.id, person.text_key) for name in ("email", "name")}
    return person.model_dump(mode="json", exclude={"account", "text_key"}) | sealed
