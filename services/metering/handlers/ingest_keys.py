"""Ingest keys: created, rotated and revoked by the vendor.

Commands contain only the hash of a key.
"""

from datetime import datetime, timedelta

from services.metering.store import keys
from shared.events.commands.metering import CreateIngestKey, RevokeIngestKey, RotateIngestKey
from shared.events.envelope import Event
from shared.events.metering import IngestKeyChanged, IngestKeyState
from shared.events.refusals import Refusal
from shared.events.topics import METERING_EVENTS_TOPIC
from shared.runtime.commands.decisions import Accepted, AuditEntry, Decision, Refused
from shared.runtime.delivery.transaction import Transaction


async def create_ingest_key(tx: Transaction, command: Event[CreateIngestKey]) -> Decision:
    """Store a new key's hash."""
    asked = command.data
    limits = {name: getattr(asked, name) for name in ("events_per_second", "max_body_bytes")}
    after = {"product": asked.product, **{name: limit for name, limit in limits.items() if limit is not None}}
    audit = AuditEntry("create-ingest-key", asked.key, "vendor", after=after)
    if refusal := _vendor_only(command.actorvendor) or _in_the_future(asked.expires_at, tx.now):
        return Refused(refusal, audit)
    state = IngestKeyState(
        id=asked.key,
        product=asked.product,
        created_at=tx.now,
        created_by=str(command.actor),
        expires_at=asked.expires_at,
        events_per_second=asked.events_per_second,
        max_body_bytes=asked.max_body_bytes,
        version=1,
    )
    if not await keys.insert_key(tx.connection, state, bytes.fromhex(asked.secret_sha256)):
        return Refused(_already_exists(), audit)
    return await _changed(tx, state, audit)


async def rotate_ingest_key(tx: Transaction, command: Event[RotateIngestKey]) -> Decision:
    """Create a new key in place of an old one.

    The old one stays valid for the overlap, or until it expires if that is sooner.
    """
    asked = command.data
    audit = AuditEntry("rotate-ingest-key", asked.key, "vendor")
    if refusal := _vendor_only(command.actorvendor) or _in_the_future(asked.expires_at, tx.now):
        return Refused(refusal, audit)
    old = await keys.lock_key(tx.connection, asked.key)
    if old is None:
        return Refused(Refusal(code="not_found", message="There is no such ingest key."), audit)
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= tx.now):
        return Refused(_invalid("key", "is revoked or has expired: make a new one"), audit)
    until = tx.now + timedelta(seconds=asked.overlap_seconds)
    until = until if old.expires_at is None else min(until, old.expires_at)
    new = old.model_copy(
        update={
            "id": asked.new_key,
            "created_at": tx.now,
            "created_by": str(command.actor),
            "expires_at": asked.expires_at,
            "replaces": old.id,
            "replaced_by": None,
            "version": 1,
        }
    )
    if not await keys.insert_key(tx.connection, new, bytes.fromhex(asked.secret_sha256)):
        return Refused(_already_exists(), audit)
    replaced = await keys.replace_key(tx.connection, old.id, new.id, until)
    await _publish(tx, replaced)
    after = {"product": old.product, "new_key": new.id, "old_expires_at": until.isoformat()}
    return await _changed(tx, new, AuditEntry(audit.action, audit.object, audit.account, after=after))


async def revoke_ingest_key(tx: Transaction, command: Event[RevokeIngestKey]) -> Decision:
    """Revoke a key. Revoking it again changes nothing."""
    key = command.data.key
    audit = AuditEntry("revoke-ingest-key", key, "vendor")
    if refusal := _vendor_only(command.actorvendor):
        return Refused(refusal, audit)
    state = await keys.revoke_key(tx.connection, key, tx.now)
    if state is None:
        return Refused(Refusal(code="not_found", message="There is no such ingest key."), audit)
    return await _changed(tx, state, audit)


async def _changed(tx: Transaction, state: IngestKeyState, audit: AuditEntry) -> Decision:
    await _publish(tx, state)
    return Accepted(resource=state.id, version=state.version, audit=audit)


async def _publish(tx: Transaction, state: IngestKeyState) -> None:
    await tx.emit(METERING_EVENTS_TOPIC, state.product, IngestKeyChanged(ingest_key=state), subject=state.product)


def _vendor_only(is_vendor: bool | None) -> Refusal | None:
    return None if is_vendor else Refusal(code="forbidden", message="Only the vendor manages ingest keys.")


def _in_the_future(expires_at: datetime | None, now: datetime) -> Refusal | None:
    return _invalid("expires_at", "must be in the future") if expires_at is not None and expires_at <= now else None


def _invalid(field: str, message: str) -> Refusal:
    errors = [{"field": field, "message": message}]
    return Refusal(code="invalid_request", message="The request is not valid.", details={"errors": errors})


def _already_exists() -> Refusal:
    return Refusal(code="already_exists", message="There is an ingest key with this id or secret already.")
