"""The inbox, which decides each command once.

It verifies commands first, and publishes the same outcome for every repeat. A command that is not decided in the usual
way is one of these:

- Unsigned, signed with an unknown key, forged, or without an actor: it is audited as denied and becomes a dead letter
  with that reason.
- Malformed, or of an unknown type: it becomes a dead letter (``malformed``, ``unsupported_type``) without an outcome or
  an audit record, and counts towards the limit of dead letters that halts the consumer.
- A repeat (same actor, id and content): the stored outcome is published again and nothing else happens. The outcome
  ``unavailable`` is not stored, so that a repeat is decided again.
- Not decidable yet (``Postponed``): it is postponed and retried apart from the batch, so that other keys do not wait.
- Same actor and id, other content: it is audited as denied (``idempotency_key_reused``). No outcome is published, as it
  would be taken for that of the first command with this id. Reporting refuses such reuse before it sends.
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
from shared.runtime.commands.outcomes import Identity, Outcomes, StoredOutcome
from shared.runtime.commands.postponed import PostponedCommand
from shared.runtime.delivery.transaction import PermanentError, Transaction
from shared.runtime.process import logging, metrics
from shared.runtime.process.clock import utc_now
from shared.runtime.records import Record
from shared.runtime.signing import SIGNATURE_HEADER, Keys, SignatureError, verify

_log = logging.get("commands")

Received = tuple[Record, Event[Any]]
"""A record and the verified command in it."""

UNVERIFIED = "unverified"
"""Actor in the audit record of a command whose sender is not proved.

The signature of such a command does not prove who sent it.
"""

NOT_STORED = frozenset({"unavailable"})
"""Refusals that depend on the moment and not on the command.

A repeat is decided again.
"""


class Inbox:
    """The batch handler of one command topic."""

    def __init__(
        self,
        handlers: Mapping[type[Payload], CommandHandler],
        *,
        decided: type[CommandDecided],
        events_topic: Topic,
        keys: Keys,
    ) -> None:
        """Make the inbox of one topic.

        ``handlers``: some may be ``BatchCommandHandler``. ``decided``: the payload type of the outcome event.
        """
        self._payloads = by_type(handlers)
        self._handlers = dict(handlers)
        self._batch_handlers: dict[type[Payload], BatchCommandHandler[Any, Any]] = {
            kind: handler for kind, handler in handlers.items() if isinstance(handler, BatchCommandHandler)
        }
        self._decided = decided
        self._events_topic = events_topic
        self._keys = keys
        self.postponed = asyncio.Event()
        """Set when commands were postponed and committed."""

    async def __call__(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Decide or postpone the commands of a batch, in order, in one transaction."""
        waiting: list[Received] = []
        for record in records:
            tx.record = record
            waiting.append((record, self._read(tx, record)))
        outcomes = await Outcomes.load(tx.connection, records[0].topic, (_identity(one) for _, one in waiting))
        while waiting:
            run = self._find_run(waiting, outcomes)
            if run:
                await self._decide_together(tx, run, outcomes)
            else:
                await self._decide_alone(tx, *waiting[0], outcomes)
            del waiting[: max(len(run), 1)]
        await outcomes.save(tx.connection)

    def _find_run(self, waiting: Sequence[Received], outcomes: Outcomes) -> list[Received]:
        """Find the longest prefix of ``waiting`` that can be decided together.

        One batch handler decides it. The result is empty if there is no such prefix.
        """
        kind = type(waiting[0][1].data)
        handler = self._batch_handlers.get(kind)
        run: list[Received] = []
        seen = set[Hashable]()
        if handler is None:
            return run
        for record, command in waiting:
            if type(command.data) is not kind or record.key in outcomes.postponed_keys:
                break
            # A key, subject or command occurs once in a run: the second must see what the first changed.
            own = {("key", record.key), ("subject", handler.subject(command)), ("command", _identity(command))}
            if own & seen or outcomes.find(_identity(command)) is not None:
                break
            seen |= own
            run.append((record, command))
        return run

    async def _decide_together(self, tx: Transaction, run: Sequence[Received], outcomes: Outcomes) -> None:
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
                await self._decide_alone(tx, record, command, outcomes)
                continue
            with _causing(tx, command):
                for subject, event in plan.events:
                    await tx.emit(self._events_topic, record.key, event, subject=subject)
                give_up_at = await self._settle(tx, record, command, outcomes, plan.decision)
            await self._postpone(tx, record, outcomes, give_up_at)

    async def _decide_alone(self, tx: Transaction, record: Record, command: Event[Any], outcomes: Outcomes) -> None:
        tx.record = record
        if record.key in outcomes.postponed_keys:
            await postponed.insert(tx.connection, record)
            tx.after_commit(self.postponed.set)
            return
        with _causing(tx, command):
            give_up_at = await self._decide_once(tx, record, command, outcomes)
        await self._postpone(tx, record, outcomes, give_up_at)

    async def _postpone(self, tx: Transaction, record: Record, outcomes: Outcomes, give_up_at: datetime | None) -> None:
        """Postpone an undecided command, which is given up at ``give_up_at``.

        Later commands of its key queue behind it. ``None``: the command is decided, and nothing happens.
        """
        if give_up_at is not None:
            outcomes.postponed_keys.add(record.key)
            await postponed.insert(tx.connection, record, give_up_at)
            tx.after_commit(self.postponed.set)

    async def retry(self, tx: Transaction, waiting: PostponedCommand) -> bool:
        """Retry a postponed command, and return whether it was decided.

        It was verified when it arrived.
        """
        tx.record = waiting.record
        command = self._decode(waiting.record)
        outcomes = await Outcomes.load(tx.connection, waiting.record.topic, [_identity(command)])
        with _causing(tx, command):
            give_up_at = await self._decide_once(tx, waiting.record, command, outcomes, waiting.give_up_at)
        await outcomes.save(tx.connection)
        if give_up_at is not None and waiting.give_up_at is None:
            await postponed.set_give_up(tx.connection, waiting, give_up_at)
        return give_up_at is None

    def _read(self, tx: Transaction, record: Record) -> Event[Any]:
        """Verify and decode a command.

        Raises:
            PermanentError: the signature, the actor or the format is not valid.
        """
        value = record.value or b""
        try:
            verify(value, record.header(SIGNATURE_HEADER), self._keys, record.topic)
        except SignatureError as error:
            raise self._denied(tx, record, error.reason, str(error)) from error
        command = self._decode(record)
        if not command.actor:
            raise self._denied(tx, record, "no_actor", "the command has no actor")
        return command

    def _decode(self, record: Record) -> Event[Any]:
        try:
            command = decode(record.value or b"", self._payloads)
            if command is None:
                raise PermanentError("unsupported_type", "this service has no handler for this type of command")
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

    async def _decide_once(
        self,
        tx: Transaction,
        record: Record,
        command: Event[Any],
        outcomes: Outcomes,
        give_up_at: datetime | None = None,
    ) -> datetime | None:
        """Decide a command, or publish its stored outcome.

        Returns when to give up, if the command is postponed; ``None`` if it is settled.
        """
        identity, digest = _identity(command), _digest(command)
        earlier = outcomes.find(identity)
        if earlier is None:
            return await self._settle(
                tx, record, command, outcomes, await self._call_handler(tx, command), give_up_at=give_up_at
            )
        if earlier.digest != digest:
            await self._refuse_reuse(tx, record, command)
            return None
        await tx.emit(self._events_topic, record.key, self._decided.model_validate_json(earlier.outcome))
        _count_after_commit(tx, command, "repeated", record)
        return None

    async def _settle(
        self,
        tx: Transaction,
        record: Record,
        command: Event[Any],
        outcomes: Outcomes,
        decision: Decision,
        *,
        give_up_at: datetime | None = None,
    ) -> datetime | None:
        """Audit a decision, and store and publish its outcome.

        A refusal of ``NOT_STORED`` is not stored.

        Returns when to give up, if the command is postponed; ``None`` if it is settled.
        """
        if isinstance(decision, Postponed):
            give_up_at = give_up_at or tx.now + timedelta(seconds=decision.within_seconds)
            if tx.now < give_up_at:
                return give_up_at
            decision = decision.refused
        outcome = await self._outcome_of(tx, command, decision)
        if outcome.refusal is None or outcome.refusal.code not in NOT_STORED:
            decided = StoredOutcome(_digest(command), outcome.model_dump_json())
            outcomes.add(_identity(command), command.type, decided, tx.now)
        await tx.emit(self._events_topic, record.key, outcome)
        _count_after_commit(tx, command, "accepted" if outcome.accepted else "refused", record)
        return None

    async def _outcome_of(self, tx: Transaction, command: Event[Any], decision: Accepted | Refused) -> CommandDecided:
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

    async def _call_handler(self, tx: Transaction, command: Event[Any]) -> Decision:
        """The handler's decision. Its writes are rolled back unless it accepted."""
        async with tx.savepoint() as undo:
            decision = await self._handlers[type(command.data)](tx, command)
            if not isinstance(decision, Accepted):
                undo()
        return decision

    async def _refuse_reuse(self, tx: Transaction, record: Record, command: Event[Any]) -> None:
        refused = Refused(
            Refusal(
                code="idempotency_key_reused",
                message="This command id was already used for another command. Send a new id.",
            )
        )
        entry = AuditEntry(action=command.type, object=command.id, account="vendor")
        await tx.audit(_audit_record(tx, command, refused, entry))
        _count_after_commit(tx, command, "refused", record)


@contextmanager
def _causing(tx: Transaction, command: Event[Any]) -> Iterator[None]:
    """Make ``command`` the cause of events published within the block.

    It is also the context of lines logged there.
    """
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
    """Return the SHA-256 of a command's type and data.

    The envelope does not count, as a repeat has another time and correlation id.
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
    """Return a command's name in metrics and logs.

    It is its type without the ``unitpool.`` prefix and the version.
    """
    return type.removeprefix("unitpool.").rsplit(".", 1)[0]


def _count_after_commit(tx: Transaction, command: Event[Any], outcome: str, record: Record) -> None:
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
