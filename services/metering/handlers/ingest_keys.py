"""Ingest keys: made and revoked by the vendor. Only the hash of a key ever comes here."""

from services.metering.store import keys
from shared.events.commands import CreateIngestKey, RevokeIngestKey
from shared.events.envelope import Event
from shared.events.metering import IngestKeyChanged, IngestKeyState
from shared.events.refusals import Refusal
from shared.events.topics import METERING_EVENTS_TOPIC
from shared.runtime.delivery import Transaction
from shared.runtime.inbox import Accepted, AuditEntry, Decision, Refused


async def create_ingest_key(tx: Transaction, command: Event[CreateIngestKey]) -> Decision:
    """Store a new key's hash."""
    asked = command.data
    audit = AuditEntry("create-ingest-key", asked.key, "vendor", after={"product": asked.product})
    if refusal := _vendor_only(command.actorvendor):
        return Refused(refusal, audit)
    if asked.expires_at is not None and asked.expires_at <= tx.now:
        errors = [{"field": "expires_at", "message": "must be in the future"}]
        message = "The key would have expired already."
        return Refused(Refusal(code="invalid_request", message=message, details={"errors": errors}), audit)
    state = IngestKeyState(
        id=asked.key,
        product=asked.product,
        created_at=tx.now,
        created_by=str(command.actor),
        expires_at=asked.expires_at,
        version=1,
    )
    if not await keys.insert_key(tx.connection, state, bytes.fromhex(asked.secret_sha256)):
        return Refused(Refusal(code="already_exists", message="There is an ingest key like this already."), audit)
    return await _changed(tx, state, audit)


async def revoke_ingest_key(tx: Transaction, command: Event[RevokeIngestKey]) -> Decision:
    """Have a key no longer accepted. Revoking it again changes nothing."""
    key = command.data.key
    audit = AuditEntry("revoke-ingest-key", key, "vendor")
    if refusal := _vendor_only(command.actorvendor):
        return Refused(refusal, audit)
    state = await keys.revoke_key(tx.connection, key, tx.now)
    if state is None:
        return Refused(Refusal(code="not_found", message="There is no such ingest key."), audit)
    return await _changed(tx, state, audit)


async def _changed(tx: Transaction, state: IngestKeyState, audit: AuditEntry) -> Decision:
    await tx.emit(METERING_EVENTS_TOPIC, state.product, IngestKeyChanged(ingest_key=state), subject=state.product)
    return Accepted(resource=state.id, version=state.version, audit=audit)


def _vendor_only(is_vendor: bool | None) -> Refusal | None:
    return None if is_vendor else Refusal(code="forbidden", message="Only the vendor manages ingest keys.")
