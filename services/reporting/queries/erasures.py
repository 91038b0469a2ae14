"""Erasures of people: their report, and the data that is held of a person."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.reporting.domain import permissions
from services.reporting.domain.caller import Caller
from services.reporting.queries.access import not_found
from services.reporting.queries.people_visibility import load_people_visibility
from services.reporting.queries.shown_people import ShownPeople, load_people, people_of
from services.reporting.store import erasures, people, personal_data
from services.reporting.store import subscriptions as store
from services.reporting.store.consistent_read import consistent_read
from shared.events.erasure import ErasureState, object_of
from shared.events.ids import AccountId, PersonId
from shared.events.outcomes import AuditRecord
from shared.events.sealed import open_all, sealed_for
from shared.events.state import PersonState
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Connection, Pool
from shared.runtime.sealed_text import open_text

SERVICES = ("allocation", "metering", "alerts", "reporting")
"""The services that confirm an erasure."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The confirmation of an erasure by one service.

    ``at`` ``None``: it has not confirmed yet. ``ended``: how many of what the person had it ended, by kind.
    """

    service: str
    at: datetime | None
    ended: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """An erasure, and who has confirmed it. ``complete``: all services have."""

    person: str
    account: str | None
    requested_by: str
    requested_at: datetime
    reason: str
    due_at: datetime
    erased_at: datetime | None
    complete: bool
    confirmations: tuple[Confirmation, ...]


@dataclass(frozen=True, slots=True)
class _Subject:
    """Whom a request is about: what is known of them, and their erasure."""

    id: PersonId
    account: AccountId | None
    state: PersonState | None
    erasure: ErasureState | None


class ErasureQueries:
    """Reads about the erasure of people, and about their data."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def account_of(self, person: PersonId) -> AccountId | None:
        """Find the account of a person, erased or not.

        For the command, whose owner decides what the caller may do and know. ``None``: they belong to none.

        Raises:
            ProblemError: ``not_found``.
        """
        async with self._pool.acquire() as connection:
            return (await _find(connection, person)).account

    async def report(self, caller: Caller, person: PersonId) -> ErasureReport:
        """Report on the erasure of a person.

        Raises:
            ProblemError: ``not_found``, also without an erasure; ``forbidden``.
        """
        async with consistent_read(self._pool) as connection:
            subject = await _find(connection, person)
            await _require_right(connection, caller, subject)
            if subject.erasure is None:
                raise not_found("erasure")
            confirmed = await erasures.load_confirmations(connection, object_of(subject.account, person))
            named = (subject.erasure.requested_by, subject.erasure.reason)
            shown = await load_people(connection, (one for value in named for one in people_of(value)))
        return _report(subject.erasure, confirmed, shown)

    async def held(self, person: PersonId) -> dict[str, int]:
        """Count what of a person would end here: sessions, channels, sealed texts.

        For the preview, after its owner has decided that the caller may see it.
        """
        async with consistent_read(self._pool) as connection:
            subject = await _find(connection, person)
            email = subject.state.email if subject.state else None
            return await personal_data.count_held(connection, person, email)

    async def data(self, caller: Caller, person: PersonId) -> AsyncIterator[str]:
        """Return everything that is held of a person, as pieces of one JSON object.

        Other people are named by id only: their addresses are not this person's data.

        Raises:
            ProblemError: ``not_found``; ``forbidden``.
        """
        async with self._pool.acquire() as connection:
            subject = await _find(connection, person)
            if subject.state is None or subject.state.email != caller.email:
                await _require_right(connection, caller, subject)
        return self._data(subject)

    async def _data(self, subject: _Subject) -> AsyncIterator[str]:
        state = subject.state
        async with consistent_read(self._pool) as connection:
            whose = personal_data.Whose(subject.id, subject.account, state.email if state else None)
            known = None if state is None else state.model_dump(mode="json", exclude={"text_key"})
            erasure = None if subject.erasure is None else subject.erasure.model_dump(mode="json")
            opened = _own_texts(state)
            yield f'{{"person":{json.dumps(known)},"erasure":{json.dumps(open_all(erasure, opened))}'
            for name, rows in personal_data.sections(connection, whose):
                yield f',"{name}":['
                comma = ""
                async for row in rows:
                    yield comma + json.dumps(open_all(json.loads(row), opened))
                    comma = ","
                yield "]"
            yield "}"


def _own_texts(state: PersonState | None) -> Callable[[str], str]:
    """Return a function that opens what this person wrote, and no other texts."""

    def opened(text: str) -> str:
        if state is None or sealed_for(text) != state.id:
            return "sealed"
        return open_text(text, state.text_key) or "sealed"

    return opened


def _report(erasure: ErasureState, confirmed: list[AuditRecord], shown: ShownPeople) -> ErasureReport:
    first: dict[str, AuditRecord] = {}
    for record in confirmed:
        first.setdefault(str((record.after or {}).get("service")), record)
    confirmations = tuple(_confirmation(service, first.get(service)) for service in SERVICES)
    return ErasureReport(
        person=erasure.person,
        account=erasure.account,
        requested_by=shown.show(erasure.requested_by),
        requested_at=erasure.requested_at,
        reason=shown.show(erasure.reason),
        due_at=erasure.due_at,
        erased_at=erasure.erased_at,
        complete=all(one.at is not None for one in confirmations),
        confirmations=confirmations,
    )


def _confirmation(service: str, record: AuditRecord | None) -> Confirmation:
    if record is None:
        return Confirmation(service, None, {})
    counts: dict[str, Any] = {name: value for name, value in (record.after or {}).items() if name != "service"}
    return Confirmation(service, record.at, counts)


async def _find(connection: Connection, person: PersonId) -> _Subject:
    state = (await people.find_people(connection, [person])).get(person)
    erasure = await erasures.find_erasure(connection, person)
    if state is not None:
        return _Subject(person, state.account, state, erasure)
    if erasure is not None:
        return _Subject(person, erasure.account, None, erasure)
    raise not_found("person")


async def _require_right(connection: Connection, caller: Caller, subject: _Subject) -> None:
    """Check that the caller may erase the person.

    Raises:
        ProblemError: ``not_found``; ``forbidden``.
    """
    if caller.vendor:
        return
    if subject.account is None:
        raise not_found("person")
    roles = permissions.sort_roles(caller, await store.find_roles_in_account(connection, caller.email, subject.account))
    visibility = await load_people_visibility(connection, caller, [subject.account])
    if permissions.VIEW_PEOPLE not in permissions.permissions_of(roles) or subject.id in visibility.hidden:
        raise not_found("person")
    if permissions.ERASE_PEOPLE not in permissions.permissions_of(roles):
        raise ProblemError.of("forbidden", "Only a user administrator or the vendor may see this.")
