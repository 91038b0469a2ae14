"""Erasures of people: requested by a command, carried out when they are due.

Locks are taken in the order of ``people``: subscriptions by their ids, the person, roles by their ids.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from services.allocation.domain import people
from services.allocation.domain.permissions import account_roles_of, refusal_for
from services.allocation.handlers.contacts import save_person
from services.allocation.handlers.context import VENDOR, Context, actor_of
from services.allocation.handlers.people import load_reach, withdraw
from services.allocation.handlers.publishing import publish
from services.allocation.store.erasures import find_erasure, insert_erasure, lock_due_erasures, update_erasure
from services.allocation.store.people import (
    delete_person,
    find_granting,
    find_led_by,
    find_only_useradmin_of,
    load_account_roles,
    lock_person_to_erase,
    lock_subscriptions_of,
)
from services.allocation.store.roles import find_held
from shared.events.allocation import ErasureChanged
from shared.events.commands.accounts import ErasePerson
from shared.events.envelope import Event
from shared.events.erasure import ErasureState, confirmation, object_of
from shared.events.refusals import Refusal
from shared.events.state import PersonState
from shared.events.topics import ALLOCATION_PEOPLE_TOPIC
from shared.runtime.commands.decisions import CommandResult, Decision
from shared.runtime.delivery.isolation import isolate
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.records import Outgoing

BATCH: Final = 20


async def erase_person(tx: Transaction, command: Event[ErasePerson], *, after: timedelta) -> Decision:
    """Request the erasure of a person; carry it out if it is due at once.

    ``after``: the time until it is due. A person whose erasure was requested before is left as they are.
    """
    asked, actor = command.data, actor_of(command)
    action = "preview-erasure" if asked.preview else "erase-person"
    context = Context(action, object_of(asked.account, asked.person), asked.account or VENDOR)
    given = await load_account_roles(tx.connection, asked.account, actor.person) if asked.account else frozenset()
    if refusal := refusal_for("erase-person", account_roles_of(actor, given), known=bool(given), what="person"):
        return context.refused(refusal)
    if asked.account is not None:
        await lock_subscriptions_of(tx.connection, asked.account)
    before = await lock_person_to_erase(tx.connection, asked.account, asked.person)
    earlier = await find_erasure(tx.connection, asked.person)
    if earlier is not None and earlier.account == asked.account:
        return context.accepted(asked.person, earlier.version, result=_result(earlier, {}))
    if before is None:
        return context.refused(Refusal.not_found("person"))
    reach = await load_reach(tx, command, before.id)
    refused = (reach.remove_refusal() if reach else None) or people.erase_refusal(
        before,
        actor.person,
        leads=await find_led_by(tx.connection, before.id),
        alone=await find_only_useradmin_of(tx.connection, before.id) if before.is_active else (),
    )
    if refused:
        return context.refused(refused)
    erasure = ErasureState(
        person=before.id,
        account=before.account,
        requested_by=actor.person,
        reason=asked.reason,
        requested_at=tx.now,
        due_at=tx.now + after,
        version=1,
    )
    if asked.preview:
        return context.accepted(before.id, before.version, result=_result(erasure, await _held(tx, before)))
    await insert_erasure(tx.connection, erasure)
    await publish(tx, before.id, ErasureChanged(erasure=erasure))
    if erasure.due_at <= tx.now:
        erasure = await _carry_out(tx, erasure, before)
    else:
        await save_person(tx, before, people.mark_for_erasure(before, erasure.due_at))
    return context.accepted(before.id, erasure.version, result=_result(erasure, {}), reason=asked.reason)


async def erase_due(tx: Transaction, aside: SetAside) -> int:
    """Carry out erasures that are due; return how many.

    Those that fail are set aside, and retried later by themselves.
    """
    await aside.begin(tx.connection)
    known = await aside.load(tx.connection, tx.now)
    due = await lock_due_erasures(tx.connection, tx.now, BATCH, known.waiting)
    failed = await isolate(tx, due, lambda one: one.person, partial(_carry_out_all, tx))
    for one in failed:
        await aside.add(tx, one.whose, one.whose, one.error)
    if recovered := known.due - {one.whose for one in failed}:
        await aside.clear(tx.connection, sorted(recovered))
    return len(due) - len(failed)


async def _carry_out_all(tx: Transaction, erasures: Sequence[ErasureState]) -> None:
    for erasure in erasures:
        if erasure.account is not None:
            await lock_subscriptions_of(tx.connection, erasure.account)
        person = await lock_person_to_erase(tx.connection, erasure.account, erasure.person)
        await _carry_out(tx, erasure, person)


async def _carry_out(tx: Transaction, erasure: ErasureState, person: PersonState | None) -> ErasureState:
    """Delete a person with their key, and publish that they are gone.

    Grants and roles end before, as nothing may name somebody who is not there.
    """
    ended = await withdraw(tx, erasure.account, person) if person and erasure.account else {}
    await delete_person(tx.connection, erasure.person)
    tx.add(Outgoing(ALLOCATION_PEOPLE_TOPIC.name, erasure.person.encode(), None))
    done = erasure.model_copy(update={"erased_at": tx.now, "version": erasure.version + 1})
    await update_erasure(tx.connection, done)
    await publish(tx, done.person, ErasureChanged(erasure=done))
    await tx.audit(confirmation("allocation", done.person, done.account, tx.now, ended))
    return done


async def _held(tx: Transaction, person: PersonState) -> dict[str, int]:
    """Count what would end with a person."""
    return {
        "subscriptions": len(await find_granting(tx.connection, person.id)),
        "roles": len(await find_held(tx.connection, person.id)),
    }


def _result(erasure: ErasureState, ends: dict[str, int]) -> CommandResult:
    return {"due_at": erasure.due_at.isoformat(), "ends": ends}
