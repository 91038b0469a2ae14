"""The write path: send a command through the outbox and wait for its outcome.

The command's row and its signed message are written in one transaction; the relay sends the message. The outcome
arrives as an event after the state that it refers to, so the answer is sent once the effect is visible to reads. The
page calls ``Commands.submit`` in-process, with the payload classes of ``shared.events.commands``.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from services.reporting import metrics
from services.reporting.domain.caller import Caller
from services.reporting.live_changes import LiveChanges
from services.reporting.queries.subscriptions import SubscriptionQueries
from services.reporting.store.commands import (
    SentCommand,
    find_command,
    find_own_command,
    insert_command,
    mark_secret_shown,
    take_secret,
)
from services.reporting.store.people import find_actor, find_people, find_person_id
from shared.events.alerts import shown_address
from shared.events.commands import ALERTS_COMMANDS, METERING_COMMANDS
from shared.events.commands.accounts import AddPerson, ChangePerson, IntroducePerson, RemovePerson
from shared.events.commands.alerts import AddChannel
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.commands.subscriptions import CreateSubscription
from shared.events.envelope import Event, Payload, event_of
from shared.events.outcomes import SYSTEM, CommandDecided
from shared.events.refusals import Refusal
from shared.events.state import PersonState
from shared.events.topics import ALERTS_COMMANDS_TOPIC, ALLOCATION_COMMANDS_TOPIC, METERING_COMMANDS_TOPIC, Topic
from shared.runtime import signing
from shared.runtime.commands.inbox import command_name
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.http.caller_limits import RateLimit
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Connection, Pool
from shared.runtime.process import logging
from shared.runtime.records import Outgoing
from shared.runtime.sealed_text import seal_written
from shared.runtime.signing import SIGNATURE_HEADER, Keys, SignatureError

POLL_SECONDS = 1.0
INTRODUCTIONS = "introductions"
"""The Kafka key of the commands that introduce people without an account."""
_log = logging.get("commands")
_DENIALS = frozenset({"forbidden", "not_found"})
_ADDED_FIELDS = frozenset({"seen", "sealed_secret", "sealed_url", "secret_sha256"})
"""Fields that reporting adds. A repeat is the same request even if they differ."""
_TOPICS: dict[type[Payload], Topic] = {
    **dict.fromkeys(ALERTS_COMMANDS, ALERTS_COMMANDS_TOPIC),
    **dict.fromkeys(METERING_COMMANDS, METERING_COMMANDS_TOPIC),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a command; if not ``decided``, none arrived in time.

    ``secret`` was created with the command and may be shown in this answer only.
    """

    command_id: UUID
    decided: bool
    refusal: Refusal | None = None
    resource: str | None = None
    version: int | None = None
    result: dict[str, Any] | None = None
    secret: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the command was carried out and its effect is visible to reads."""
        return self.decided and self.refusal is None


@dataclass(frozen=True, slots=True)
class _Command:
    """A command to send: ``actor`` is the caller's id in the account concerned."""

    payload: Payload
    id: UUID
    key: str
    actor: str
    caller: Caller
    digest: bytes


class Commands:
    """Sends commands on behalf of people."""

    def __init__(
        self,
        pool: Pool,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        live: LiveChanges,
        queries: SubscriptionQueries,
        *,
        keys: Keys,
        wait_seconds: float,
        writes_per_minute: int = 0,
        denied_per_minute: int = 0,
    ) -> None:
        self._pool = pool
        self._transaction = transaction
        self._live = live
        self._queries = queries
        self._keys = keys
        self._wait_seconds = wait_seconds
        self._writes = RateLimit(writes_per_minute)
        self._denied = RateLimit(denied_per_minute)

    async def submit(
        self,
        payload: Payload,
        caller: Caller,
        command_id: UUID | None = None,
        *,
        key: str | None = None,
        secret: str | None = None,
    ) -> Answer:
        """Send ``payload`` and wait up to ``wait_seconds`` for its outcome.

        A repeated ``command_id`` of the same person returns the first answer; ``None`` generates an id. ``key`` is the
        Kafka key if the payload does not contain it. ``secret`` is stored sealed for a day, for the answer to a repeat
        and for ``take_secret``.

        Raises:
            ProblemError: ``idempotency_key_reused``; ``too_many_requests`` for this person.
        """
        command_id = command_id or uuid4()
        self._writes.check(
            caller.email, "You have sent too many writes. Wait a moment, then send the same request again."
        )
        self._denied.check(
            caller.email, "Too many of your requests were denied. Wait a moment, then send the same request again."
        )
        self._writes.spend(caller.email)
        name = payload.event_type.split(".")[2]
        with metrics.COMMAND_WAIT.labels(command=name).time():
            account, subscription = getattr(payload, "account", None), getattr(payload, "subscription", None)
            actor = await self.find_person(caller, account, subscription)
            key, digest = key or kafka_key(payload), request_digest(payload)
            sealed = seal_written(payload, actor.id, actor.text_key)
            answer = await self._ask(_Command(sealed, command_id, key, actor.id, caller, digest), secret)
        if answer.refusal is not None and answer.refusal.code in _DENIALS:
            self._denied.spend(caller.email)
        return answer

    async def find_person(
        self, caller: Caller, account: str | None = None, subscription: str | None = None
    ) -> PersonState:
        """Find as whom the caller acts in an account, or in that of a subscription.

        Who is not known is introduced first, as a person without an account.

        Raises:
            ProblemError: ``unavailable``: they could not be introduced in time.
        """
        async with self._pool.acquire() as connection:
            found = await find_actor(connection, caller.email, account, subscription, vendor=caller.vendor)
        if found is not None:
            return found
        asked = IntroducePerson(email=caller.email, name=caller.name)
        system = replace(caller, email=SYSTEM, vendor=False)
        await self._ask(_Command(asked, uuid4(), INTRODUCTIONS, SYSTEM, system, request_digest(asked)), None)
        async with self._pool.acquire() as connection:
            found = await find_actor(connection, caller.email, None, None, vendor=True)
        if found is None:
            raise ProblemError(
                Refusal(code="unavailable", message="You are not known here yet. Try again in a minute."),
                headers={"Retry-After": "5"},
            )
        return found

    async def _ask(self, command: "_Command", secret: str | None) -> Answer:
        with self._live.outcome(command.id) as woken:
            command = await self._send(command, secret)
            return await self._wait_for_outcome(command, woken)

    async def plan(
        self,
        caller: Caller,
        subscription: str,
        changes: Mapping[str, int],
        *,
        command_id: UUID | None = None,
        preview: bool = False,
        accept_overage: bool = False,
        override_reason: str | None = None,
        expected_version: int | None = None,
    ) -> Answer:
        """Send a plan of allocations by product, decided on the consumption shown now."""
        payload = ApplyPlan.model_validate(
            {
                "subscription": subscription,
                "changes": [PlannedChange.model_validate({"product": p, "units": n}) for p, n in changes.items()],
                "preview": preview,
                "accept_overage": accept_overage,
                "override_reason": override_reason,
                "expected_version": expected_version,
                "seen": await self._queries.seen(subscription, list(changes)),
            }
        )
        return await self.submit(payload, caller, command_id)

    async def take_secret(self, caller: Caller, command_id: UUID) -> str | None:
        """Return and erase the secret created with an accepted command.

        ``None``: there is none, or it was shown before.
        """
        async with self._pool.acquire() as connection:
            sealed = await take_secret(connection, caller.email, command_id)
        try:
            return None if sealed is None else signing.unseal(sealed, self._keys)
        except SignatureError:  # the key that sealed it has been removed from the settings
            return None

    def seal(self, secret: str) -> str:
        """Encrypt a secret so that only the service that takes the command can read it."""
        return signing.seal(secret, self._keys)

    async def _send(self, command: "_Command", secret: str | None) -> "_Command":
        """Write row and message in one transaction; return the command that was sent.

        If the same request was sent before, that one is returned, and nothing is written.

        Raises:
            ProblemError: the id was used for another request.
        """
        payload, caller = command.payload, command.caller
        async with self._transaction() as tx:
            sent = SentCommand(
                actor=command.actor,
                command_id=command.id,
                command=payload.event_type,
                subscription=getattr(payload, "subscription", None),
                digest=command.digest,
                sent_at=tx.now,
                sealed_secret=signing.seal(secret, self._keys) if secret else None,
            )
            if await insert_command(tx.connection, sent, caller.email, caller.correlation_id):
                tx.add(self._message(command, tx.now))
                tx.after_commit(partial(_log_sent, payload, command.id, caller.correlation_id))
                return command
            earlier = await find_own_command(tx.connection, caller.email, command.id)
        if earlier is None or earlier.digest != command.digest:
            raise ProblemError.of(
                "idempotency_key_reused",
                "This Idempotency-Key was used for another request; use a new one.",
                command_id=str(command.id),
            )
        return replace(command, actor=earlier.actor)

    def _message(self, command: "_Command", now: datetime) -> Outgoing:
        sent, caller = self._without_secrets(command.payload), command.caller
        event: Event[Any] = event_of(type(sent)).of(
            sent,
            id=str(command.id),
            source="/reporting",
            time=now,
            subject=command.key,
            correlationid=caller.correlation_id or str(command.id),
            actor=command.actor,
            actorvendor=caller.vendor,
            actoraddress=caller.address,
        )
        value = event.encode()
        topic = _TOPICS.get(type(sent), ALLOCATION_COMMANDS_TOPIC)
        signature = signing.sign(value, self._keys, topic.name)
        return Outgoing(topic.name, command.key.encode(), value, ((SIGNATURE_HEADER, signature),))

    def _without_secrets(self, payload: Payload) -> Payload:
        """Seal a channel's address.

        It is a secret, and would be readable in the outbox and the topic.
        """
        if not isinstance(payload, AddChannel):
            return payload
        return payload.model_copy(update={"url": shown_address(payload.url), "sealed_url": self.seal(payload.url)})

    async def _wait_for_outcome(self, command: "_Command", woken: asyncio.Event) -> Answer:
        """Poll after each notification, and every second in case one is missed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_seconds
        while True:
            woken.clear()
            async with self._pool.acquire() as connection:
                sent = await find_command(connection, command.actor, command.id)
                if sent is not None and sent.outcome and await _is_shown(connection, command.payload, sent.outcome):
                    answer = self._answer(sent)
                    if answer.secret:
                        await mark_secret_shown(connection, command.actor, command.id)
                    return answer
            left = deadline - loop.time()
            if left <= 0 or self._live.is_stopped:
                return Answer(command.id, decided=False)
            try:
                async with asyncio.timeout(min(left, POLL_SECONDS)):
                    await woken.wait()
            except TimeoutError:
                continue

    def _answer(self, sent: SentCommand) -> Answer:
        outcome = sent.outcome
        assert outcome is not None  # noqa: S101  # the caller has checked it
        secret = signing.unseal(sent.sealed_secret, self._keys) if sent.sealed_secret and outcome.accepted else None
        return Answer(
            sent.command_id,
            decided=True,
            refusal=outcome.refusal,
            resource=outcome.resource,
            version=outcome.version,
            result=outcome.result,
            secret=secret,
        )


async def _is_shown(connection: Connection, payload: Payload, outcome: CommandDecided) -> bool:
    """Whether reads show what the command did.

    The outcome follows the state on its topic; but people have a topic of their own.
    """
    if outcome.refusal is not None:
        return True
    match payload:
        case IntroducePerson() | AddPerson() | ChangePerson() | RemovePerson():
            known = await find_people(connection, [outcome.resource or ""])
            return any(one.version >= (outcome.version or 0) for one in known.values())
        case CreateSubscription():
            return await find_person_id(connection, payload.primary_contact.email, payload.account, None) is not None
        case _:
            return True


def _log_sent(payload: Payload, command_id: UUID, correlation_id: str | None) -> None:
    command, correlation = command_name(payload.event_type), correlation_id or str(command_id)
    _log.info("command_sent", command=command, command_id=str(command_id), correlation_id=correlation)


def kafka_key(payload: Payload) -> str:
    """Return the Kafka key of a command: the aggregate that it is about.

    This is its subscription, else its account, else its product or its person.
    """
    for field in ("subscription", "account", "product", "person"):
        if value := getattr(payload, field, None):
            return str(value)
    raise ValueError(f"{payload.event_type} needs its key")


def request_digest(payload: Payload) -> bytes:
    """Hash what the person requested, without the fields that reporting adds."""
    requested = payload.model_dump_json(exclude=set(_ADDED_FIELDS))
    return hashlib.sha256(f"{payload.event_type}\n{requested}".encode()).digest()
