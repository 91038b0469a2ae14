"""Replays of the quarantine on request.

The command saves the request. A task judges its records in portions, one per transaction.
"""

from dataclasses import replace

from services.metering.handlers.apply_usage import UsageApplier
from services.metering.handlers.retry_quarantine import reapply_quarantined
from services.metering.store import quarantine, replays
from services.metering.store.replays import Replay
from shared.events.commands.metering import ReplayQuarantine
from shared.events.envelope import Event
from shared.events.outcomes import AuditRecord
from shared.events.quarantine import QuarantineReplayChanged
from shared.events.refusals import Refusal
from shared.events.topics import METERING_EVENTS_TOPIC
from shared.runtime.commands.decisions import Accepted, AuditEntry, Decision, Refused
from shared.runtime.delivery.transaction import Transaction

ACTION = "replay-quarantine"


async def replay_quarantine(tx: Transaction, command: Event[ReplayQuarantine]) -> Decision:
    """Save a replay of what is in quarantine now; later records are not part of it."""
    asked = command.data
    audit = AuditEntry(ACTION, asked.replay, "vendor", after=asked.wanted.model_dump(mode="json", exclude_none=True))
    if not command.actorvendor:
        return Refused(Refusal(code="forbidden", message="Only the vendor replays quarantined usage."), audit)
    if asked.wanted.id and not await quarantine.has_record(tx.connection, int(asked.wanted.id)):
        return Refused(Refusal(code="not_found", message="There is no such record in quarantine."), audit)
    noted = Replay(
        number=0,
        id=asked.replay,
        wanted=asked.wanted,
        requested_at=tx.now,
        requested_by=str(command.actor),
        address=command.actoraddress,
        correlation_id=command.correlationid,
        last_row=await quarantine.load_last_id(tx.connection),
    )
    if not await replays.insert_replay(tx.connection, noted):
        return Refused(Refusal(code="already_exists", message="There is a replay with this id already."), audit)
    await _publish(tx, noted)
    return Accepted(resource=noted.id, version=noted.version, audit=audit)


async def run_replay_step(tx: Transaction, applier: UsageApplier, limit: int) -> bool:
    """Judge the next portion of the oldest unfinished replay.

    Return whether there was one.
    """
    found = await replays.lock_next(tx.connection)
    if found is None:
        return False
    if found.total is None:
        total = await quarantine.count_selected(tx.connection, found.wanted, 0, found.last_row)
        found = replace(found, total=total)
    waiting = await quarantine.lock_selected(tx.connection, found.wanted, found.done_row, found.last_row, limit)
    outcomes = await reapply_quarantined(tx, applier, waiting) if waiting else []
    done = replace(
        found,
        done_row=waiting[-1].id if waiting else found.last_row,
        judged=found.judged + len(waiting),
        applied=found.applied + outcomes.count("applied"),
        duplicate=found.duplicate + outcomes.count("duplicate"),
        finished_at=tx.now if len(waiting) < limit else None,
    )
    done = await replays.update_replay(tx.connection, done)
    await _publish(tx, done)
    if done.finished_at:
        await _audit(tx, done)
    return True


async def _publish(tx: Transaction, one: Replay) -> None:
    await tx.emit(METERING_EVENTS_TOPIC, one.id, QuarantineReplayChanged(replay=one.state()), subject=one.id)


async def _audit(tx: Transaction, one: Replay) -> None:
    """Audit the result of a replay; its request was audited by the command."""
    figures = {"judged": one.judged, "applied": one.applied, "duplicate": one.duplicate}
    record = AuditRecord(
        at=tx.now,
        account="vendor",
        actor=one.requested_by,
        address=one.address,
        action="finish-quarantine-replay",
        object=one.id,
        after=figures,
        outcome="allowed",
        correlation_id=one.correlation_id,
    )
    await tx.audit(record)
