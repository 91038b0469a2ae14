"""The write path: a command goes out through the outbox, and its outcome is waited for.

The command's row and its message are written in one transaction; the relay sends the message, signed. The outcome comes
back as an event, after the state that it tells of, so that whoever is answered sees the effect. The page uses
``Commands.submit`` in-process, with the payload classes of ``shared.events.commands``.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from services.reporting import metrics
from services.reporting.domain.caller import Caller
from services.reporting.live import Live
from services.reporting.queries.subscriptions import Queries
from services.reporting.store.commands import SentCommand, find_command, insert_command, note_secret_shown, take_secret
from shared.events.alerts import shown_address
from shared.events.commands import ALERTS_COMMANDS, METERING_COMMANDS
from shared.events.commands.alerts import AddChannel
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.envelope import Event, Payload, event_of
from shared.events.refusals import Refusal
from shared.events.topics import ALERTS_COMMANDS_TOPIC, ALLOCATION_COMMANDS_TOPIC, METERING_COMMANDS_TOPIC, Topic
from shared.runtime import signing
from shared.runtime.commands.inbox import command_name
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.http.caller_limits import RateLimit
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Pool
from shared.runtime.process import logging
from shared.runtime.records import Outgoing
from shared.runtime.signing import SIGNATURE_HEADER, Keys, SignatureError

LOOK_AGAIN_SECONDS = 1.0
_log = logging.get("commands")
_DENIALS = frozenset({"forbidden", "not_found"})
_CHOSEN_BY_US = frozenset({"seen", "sealed_secret", "sealed_url", "secret_sha256"})
"""Fields that the asker did not write: a repeat is still the same request when they differ."""
_TOPICS: dict[type[Payload], Topic] = {
    **dict.fromkeys(ALERTS_COMMANDS, ALERTS_COMMANDS_TOPIC),
    **dict.fromkeys(METERING_COMMANDS, METERING_COMMANDS_TOPIC),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command. Neither ``decided`` nor ``refusal``: no outcome came in time, look again later.

    ``secret`` is what was made with the command, to be shown in this answer only.
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
        """Carried out, and visible to reads."""
        return self.decided and self.refusal is None


class Commands:
    """Sends commands for people."""

    def __init__(
        self,
        pool: Pool,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        live: Live,
        queries: Queries,
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
        """Send ``payload`` and wait (5 s) for its outcome. The same ``command_id`` of the same person gets the first
        answer. A new one is made up where it is ``None``. ``key`` is the Kafka key where it is not in the payload.
        ``secret`` is kept for a day, sealed, for the answer to a repeat and for ``take_secret``.

        Raises:
            ProblemError: ``idempotency_key_reused``; ``too_many_requests``: of this person.
        """
        command_id = command_id or uuid4()
        self._writes.check(caller.email, "You write more often than one person may. Send the same again, later.")
        self._denied.check(caller.email, "Too much that you asked for was denied. Send the same again, later.")
        self._writes.spend(caller.email)
        name = payload.event_type.split(".")[2]
        with self._live.outcome(command_id) as woken, metrics.COMMAND_WAIT.labels(command=name).time():
            await self._send(payload, caller, command_id, key or kafka_key(payload), secret)
            answer = await self._decided(caller, command_id, woken)
        if answer.refusal is not None and answer.refusal.code in _DENIALS:
            self._denied.spend(caller.email)
        return answer

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
        """A plan of new allocations by product, decided on the consumption that reads show now."""
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
        """What was made with an accepted command, unless it was shown before: this once, and it is kept no longer."""
        async with self._pool.acquire() as connection:
            sealed = await take_secret(connection, caller.email, command_id)
        try:
            return None if sealed is None else signing.unseal(sealed, self._keys)
        except SignatureError:  # its key was dropped meanwhile
            return None

    def seal(self, secret: str) -> str:
        """A secret for the service that takes the command: it alone can open it."""
        return signing.seal(secret, self._keys)

    async def _send(self, payload: Payload, caller: Caller, command_id: UUID, key: str, secret: str | None) -> None:
        """Row and message in one transaction, unless this was asked before."""
        digest = request_digest(payload)
        async with self._transaction() as tx:
            sent = SentCommand(
                actor=caller.email,
                command_id=command_id,
                command=payload.event_type,
                subscription=getattr(payload, "subscription", None),
                digest=digest,
                sent_at=tx.now,
                sealed_secret=signing.seal(secret, self._keys) if secret else None,
            )
            if await insert_command(tx.connection, sent, caller.correlation_id):
                tx.add(self._message(payload, caller, command_id, key, tx.now))
                tx.after_commit(partial(_say_sent, payload, command_id, caller.correlation_id))
                return
            earlier = await find_command(tx.connection, caller.email, command_id)
        if earlier is None or earlier.digest != digest:
            raise ProblemError.of(
                "idempotency_key_reused",
                "This Idempotency-Key was used for another request; use a new one.",
                command_id=str(command_id),
            )

    def _message(self, payload: Payload, caller: Caller, command_id: UUID, key: str, now: datetime) -> Outgoing:
        sent = self._without_secrets(payload)
        event: Event[Any] = event_of(type(sent)).of(
            sent,
            id=str(command_id),
            source="/reporting",
            time=now,
            subject=key,
            correlationid=caller.correlation_id or str(command_id),
            actor=caller.email,
            actorvendor=caller.vendor,
            actoraddress=caller.address,
        )
        value = event.encode()
        topic = _TOPICS.get(type(payload), ALLOCATION_COMMANDS_TOPIC)
        return Outgoing(
            topic.name, key.encode(), value, ((SIGNATURE_HEADER, signing.sign(value, self._keys, topic.name)),)
        )

    def _without_secrets(self, payload: Payload) -> Payload:
        """As it travels: a channel's address is a secret, and would lie in the outbox and on the topic."""
        if not isinstance(payload, AddChannel):
            return payload
        return payload.model_copy(update={"url": shown_address(payload.url), "sealed_url": self.seal(payload.url)})

    async def _decided(self, caller: Caller, command_id: UUID, woken: asyncio.Event) -> Answer:
        """Look, then wait to be woken; look now and then anyway, should a notice be missed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_seconds
        while True:
            woken.clear()
            async with self._pool.acquire() as connection:
                sent = await find_command(connection, caller.email, command_id)
                if sent is not None and sent.outcome is not None:
                    answer = self._answer(sent)
                    if answer.secret:
                        await note_secret_shown(connection, caller.email, command_id)
                    return answer
            left = deadline - loop.time()
            if left <= 0 or self._live.is_stopped:
                return Answer(command_id, decided=False)
            try:
                async with asyncio.timeout(min(left, LOOK_AGAIN_SECONDS)):
                    await woken.wait()
            except TimeoutError:
                continue

    def _answer(self, sent: SentCommand) -> Answer:
        outcome = sent.outcome
        assert outcome is not None  # noqa: S101  # the caller has looked
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


def _say_sent(payload: Payload, command_id: UUID, correlation_id: str | None) -> None:
    command, correlation = command_name(payload.event_type), correlation_id or str(command_id)
    _log.info("command_sent", command=command, command_id=str(command_id), correlation_id=correlation)


def kafka_key(payload: Payload) -> str:
    """The aggregate that a command is about: its subscription, else its account, else its product."""
    for field in ("subscription", "account", "product"):
        if value := getattr(payload, field, None):
            return str(value)
    raise ValueError(f"{payload.event_type} needs its key")


def request_digest(payload: Payload) -> bytes:
    """What was asked, without what we added to it."""
    asked = payload.model_dump_json(exclude=set(_CHOSEN_BY_US))
    return hashlib.sha256(f"{payload.event_type}\n{asked}".encode()).digest()
