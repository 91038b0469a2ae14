"""Commands: verified, decided once, answered the same way every time.

What happens to a command that is not simply carried out:

- unsigned, signed with an unknown key, forged, or without an actor: nothing of it is believed. It is audited as denied
  and becomes a dead letter with that reason.
- the same actor, id and content again: the stored outcome is published again, nothing else happens. ``unavailable`` is
  no such outcome: whoever asks again is heard again.
- not decidable yet (``Postponed``): it is put aside and tried again, so that no other command waits for it.
- the same actor and id with other content: audited as denied (``idempotency_key_reused``). No outcome is published,
  because one under this id would be taken for the outcome of the first; whoever sends commands refuses the reuse before
  it sends (reporting does).
"""

import asyncio
import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shared.events.envelope import Event, Payload, by_type, decode
from shared.events.outcomes import AuditRecord, CommandDecided
from shared.events.refusals import Refusal
from shared.events.topics import Topic
from shared.runtime.commands import postponed
from shared.runtime.commands.decisions import (
    Accepted,
    AuditEntry,
    BatchCommandHandler,
    CommandHandler,
    Decision,
    Planned,
    Postponed,
    Refused,
)
from shared.runtime.commands.outcomes import Decided, Decisions, Identity
from shared.runtime.commands.postponed import Waiting
from shared.runtime.delivery.transaction import PermanentError, Transaction
from shared.runtime.process import logging, metrics
from shared.runtime.process.clock import utc_now
from shared.runtime.records import Record
from shared.runtime.signing import SIGNATURE_HEADER, Keys, SignatureError, verify

_log = logging.get("commands")

UNVERIFIED = "unverified"
"""The actor of an audit record about a command whose actor cannot be believed."""

NOT_KEPT = frozenset({"unavailable"})
"""Refusals that say nothing about the command, only about the moment."""


class Inbox:
    """The commands of one topic."""

    def __init__(
        self,
        handlers: Mapping[type[Payload], CommandHandler],
        *,
        decided: type[CommandDecided],
        events_topic: Topic,
        keys: Keys,
    ) -> None:
        """``handlers``: some may be batch handlers."""
        self._payloads = by_type(handlers)
        self._handlers = dict(handlers)
        self._batch_handlers: dict[type[Payload], BatchCommandHandler[Any, Any]] = {
            kind: handler for kind, handler in handlers.items() if isinstance(handler, BatchCommandHandler)
        }
        self._decided = decided
        self._events_topic = events_topic
        self._keys = keys
        self.put_aside = asyncio.Event()

    async def __call__(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Decide the commands in order, in the one transaction of the batch; those that must wait are postponed."""
        waiting: list[tuple[Record, Event[Any]]] = []
        for record in records:
            tx.record = record
            waiting.append((record, self._read(tx, record)))
        decisions = await Decisions.load(tx.connection, records[0].topic, (_identity(one) for _, one in waiting))
        while waiting:
            run = self._run(waiting, decisions)
            if run:
                await self._decide_together(tx, run, decisions)
            else:
                await self._decide_alone(tx, *waiting[0], decisions)
            del waiting[: max(len(run), 1)]
        await decisions.save(tx.connection)

    def _run(
        self, waiting: Sequence[tuple[Record, Event[Any]]], decisions: Decisions
    ) -> list[tuple[Record, Event[Any]]]:
        """The longest beginning of what waits that one batch handler can decide together."""
        kind = type(waiting[0][1].data)
        handler = self._batch_handlers.get(kind)
        run: list[tuple[Record, Event[Any]]] = []
        seen = set[Hashable]()
        if handler is None:
            return run
        for record, command in waiting:
            if type(command.data) is not kind or record.key in decisions.waiting:
                break
            # Each once: what follows of a key waits for what precedes it, and a repeat gets the first one's outcome.
            own = {("key", record.key), ("subject", handler.subject(command)), ("command", _identity(command))}
            if own & seen or decisions.find(_identity(command)) is not None:
                break
            seen |= own
            run.append((record, command))
        return run

    async def _decide_together(
        self, tx: Transaction, run: Sequence[tuple[Record, Event[Any]]], decisions: Decisions
    ) -> None:
        handler = self._batch_handlers[type(run[0][1].data)]
        tx.record = None
        prefetched = await handler.prefetch(tx, [command for _, command in run])
        planned: list[tuple[Record, Event[Any], Planned[Any] | None]] = []
        for record, command in run:
            tx.record = record
            planned.append((record, command, handler.decide(command, prefetched, tx.now)))
        tx.record = None
        changes = [plan.change for *_, plan in planned if plan is not None and plan.change is not None]
        if changes:
            await handler.save(tx, changes)
        for record, command, plan in planned:
            tx.record = record
            if plan is None:
                await self._decide_alone(tx, record, command, decisions)
                continue
            with _causing(tx, command):
                for subject, event in plan.events:
                    await tx.emit(self._events_topic, record.key, event, subject=subject)
                give_up_at = await self._settle(tx, record, command, decisions, plan.decision)
            await self._postpone(tx, record, decisions, give_up_at)

    async def _decide_alone(self, tx: Transaction, record: Record, command: Event[Any], decisions: Decisions) -> None:
        tx.record = record
        if record.key in decisions.waiting:
            await postponed.insert(tx.connection, record)
            tx.after_commit(self.put_aside.set)
            return
        with _causing(tx, command):
            give_up_at = await self._once(tx, record, command, decisions)
        await self._postpone(tx, record, decisions, give_up_at)

    async def _postpone(
        self, tx: Transaction, record: Record, decisions: Decisions, give_up_at: datetime | None
    ) -> None:
        """Have it tried again until then, and all that follows of its key after it."""
        if give_up_at is not None:
            decisions.waiting.add(record.key)
            await postponed.insert(tx.connection, record, give_up_at)
            tx.after_commit(self.put_aside.set)

    async def retry(self, tx: Transaction, waiting: Waiting) -> bool:
        """Try again what was put aside; whether it was decided. It was verified when it came."""
        tx.record = waiting.record
        command = self._decode(waiting.record)
        decisions = await Decisions.load(tx.connection, waiting.record.topic, [_identity(command)])
        with _causing(tx, command):
            give_up_at = await self._once(tx, waiting.record, command, decisions, waiting.give_up_at)
        await decisions.save(tx.connection)
        if give_up_at is not None and waiting.give_up_at is None:
            await postponed.set_give_up(tx.connection, waiting, give_up_at)
        return give_up_at is None

    def _read(self, tx: Transaction, record: Record) -> Event[Any]:
        """The command, verified."""
        value = record.value or b""
        try:
            verify(value, record.header(SIGNATURE_HEADER), self._keys, record.topic)
        except SignatureError as error:
            raise self._denied(tx, record, error.reason, str(error)) from error
        command = self._decode(record)
        if not command.actor:
            raise self._denied(tx, record, "no_actor", "the command does not say whose act it is")
        return command

    def _decode(self, record: Record) -> Event[Any]:
        try:
            command = decode(record.value or b"", self._payloads)
            if command is None:
                raise PermanentError("unsupported_type", "no such command is known here")
            UUID(command.id)
        except ValueError as error:  # UndecodableError is a ValueError
            raise PermanentError("malformed", str(error)) from error
        return command

    def _denied(self, tx: Transaction, record: Record, reason: str, message: str) -> PermanentError:
        audit = AuditRecord(
            at=tx.now,
            account="vendor",
            actor=UNVERIFIED,
            action="command",
            object=f"{record.topic}/{record.partition}/{record.offset}",
            outcome="denied",
            reason=reason,
        )
        return PermanentError(reason, message, audit=audit, hostile=True)

    async def _once(
        self,
        tx: Transaction,
        record: Record,
        command: Event[Any],
        decisions: Decisions,
        give_up_at: datetime | None = None,
    ) -> datetime | None:
        """Decide it, unless that was done before; until when to try again, where it cannot be decided yet."""
        identity, digest = _identity(command), _digest(command)
        earlier = decisions.find(identity)
        if earlier is None:
            return await self._settle(
                tx, record, command, decisions, await self._handled(tx, command), give_up_at=give_up_at
            )
        if earlier.digest != digest:
            await self._refuse_reuse(tx, record, command)
            return None
        await tx.emit(self._events_topic, record.key, self._decided.model_validate_json(earlier.outcome))
        _count_later(tx, command, "repeated", record)
        return None

    async def _settle(
        self,
        tx: Transaction,
        record: Record,
        command: Event[Any],
        decisions: Decisions,
        decision: Decision,
        *,
        give_up_at: datetime | None = None,
    ) -> datetime | None:
        """Audit the decision, remember and publish its outcome; until when to try again, where there is none yet."""
        if isinstance(decision, Postponed):
            give_up_at = give_up_at or tx.now + timedelta(seconds=decision.within_seconds)
            if tx.now < give_up_at:
                return give_up_at
            decision = decision.refused
        outcome = await self._conclude(tx, command, decision)
        if outcome.refusal is None or outcome.refusal.code not in NOT_KEPT:
            decided = Decided(_digest(command), outcome.model_dump_json())
            decisions.keep(_identity(command), command.type, decided, tx.now)
        await tx.emit(self._events_topic, record.key, outcome)
        _count_later(tx, command, "accepted" if outcome.accepted else "refused", record)
        return None

    async def _conclude(self, tx: Transaction, command: Event[Any], decision: Accepted | Refused) -> CommandDecided:
        if decision.audit:
            await tx.audit(_audit_record(tx, command, decision, decision.audit))
        known: dict[str, Any] = {
            "command_id": UUID(command.id),
            "command": command.type,
            "actor": command.actor,
            "decided_at": tx.now,
        }
        if isinstance(decision, Refused):
            return self._decided(**known, refusal=decision.refusal)
        return self._decided(**known, resource=decision.resource, version=decision.version, result=decision.result)

    async def _handled(self, tx: Transaction, command: Event[Any]) -> Decision:
        """The handler's decision; what it wrote stays only when it accepted."""
        async with tx.savepoint() as undo:
            decision = await self._handlers[type(command.data)](tx, command)
            if not isinstance(decision, Accepted):
                undo()
        return decision

    async def _refuse_reuse(self, tx: Transaction, record: Record, command: Event[Any]) -> None:
        refused = Refused(
            Refusal(code="idempotency_key_reused", message="The same person used this command id for something else.")
        )
        entry = AuditEntry(action=command.type, object=command.id, account="vendor")
        await tx.audit(_audit_record(tx, command, refused, entry))
        _count_later(tx, command, "refused", record)


@contextmanager
def _causing(tx: Transaction, command: Event[Any]) -> Iterator[None]:
    """What is published and logged within is caused by ``command``."""
    logging.bind(correlation_id=command.correlationid, command_id=command.id)
    tx.cause, tx.caused = command, []
    try:
        yield
    finally:
        tx.cause = None
        logging.unbind("correlation_id", "command_id")


def _identity(command: Event[Any]) -> Identity:
    return Identity(str(command.actor), UUID(command.id))


def _digest(command: Event[Any]) -> bytes:
    """What was asked, without when and on which way: a repeat has another time and correlation id.

    Defaults are left out, so that a field that a later version adds does not change the digest of an older command.
    """
    return hashlib.sha256(f"{command.type}\n{command.data.model_dump_json(exclude_defaults=True)}".encode()).digest()


def _audit_record(tx: Transaction, command: Event[Any], decision: Accepted | Refused, entry: AuditEntry) -> AuditRecord:
    refusal = decision.refusal if isinstance(decision, Refused) else None
    return AuditRecord(
        at=tx.now,
        account=entry.account,
        subscription=entry.subscription,
        actor=str(command.actor),
        address=command.actoraddress,
        action=entry.action,
        object=entry.object,
        before=entry.before,
        after=None if refusal else entry.after,
        outcome="denied" if refusal else "allowed",
        reason=refusal.code if refusal else entry.reason,
        correlation_id=command.correlationid,
    )


def command_name(type: str) -> str:
    """What metrics and logs call a command: its type without ours and without its version."""
    return type.removeprefix("unitpool.").rsplit(".", 1)[0]


def _count_later(tx: Transaction, command: Event[Any], outcome: str, record: Record) -> None:
    name = command_name(command.type)
    published = [f"{event.type} {event.id}" for event in tx.caused]

    def count() -> None:
        _log.info(
            "command_decided",
            command=name,
            outcome=outcome,
            command_id=command.id,
            correlation_id=command.correlationid or command.id,
            published=published,
        )
        metrics.COMMANDS.labels(command=name, outcome=outcome).inc()
        metrics.COMMAND_SECONDS.observe(max(0.0, (utc_now() - record.appended_at).total_seconds()))

    tx.after_commit(count)
