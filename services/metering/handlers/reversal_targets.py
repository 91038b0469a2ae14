"""Rules for what a reversal may reverse.

They are used when a reversal is applied and when it is replayed.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.metering.domain.catalogue import Catalogue
from services.metering.domain.corrections import NO_METER, REVERSAL, Reversed
from services.metering.domain.judgement import Placed, instant
from services.metering.domain.placement import OLDEST, digest_of
from services.metering.domain.reasons import Reason
from services.metering.store import corrections
from services.metering.store.corrections import Correction, Target
from shared.runtime.postgres.pool import Connection

Fault = tuple[Reason, str]
"""Quarantine reason and a sentence."""


async def find_targets_of(
    connection: Connection, names: Sequence[UUID]
) -> tuple[dict[UUID, Target], dict[UUID, Correction]]:
    """Find the stored events with these identities.

    Return them by identity, and the corrections among them, also by identity.
    """
    targets = await corrections.find_targets(connection, names)
    identities = [(target.digest, target.at) for target in targets.values() if target.meter == NO_METER]
    return targets, await corrections.find_corrections(connection, identities) if identities else {}


def find_fault(  # noqa: PLR0917  # what is compared
    catalogue: Catalogue,
    subscription: int,
    product: str,
    received_at: datetime,
    target: Target,
    correction: Correction | None,
) -> Fault | None:
    """Return why a reversal may not reverse ``target``; ``None`` if it may.

    ``subscription`` (number), ``product`` and ``received_at`` are the reversal's. ``correction``: the target, if it is
    a correction.
    """
    if correction and correction.kind == REVERSAL:
        return "unsupported_type", "a reversal cannot be reversed"
    of = correction.product if correction else catalogue.meters[target.meter].product if target.meter else ""
    if (target.subscription, of) != (subscription, product):
        return "identity_conflict", "the event that it names is of another subscription or product"
    if target.at < received_at - OLDEST:
        return "too_old", "what it reverses was more than 35 days old"
    return None


async def find_faults(connection: Connection, placed: Sequence[Placed], catalogue: Catalogue) -> dict[int, Fault]:
    """Find faults of reversals whose targets are stored, by index in the batch."""
    names = {
        item.n: UUID(bytes=digest_of(data.source, data.id))
        for item in placed
        if item.usage.correction and isinstance(data := item.usage.correction.data, Reversed)
    }
    if not names:
        return {}
    targets, corrections_by_id = await find_targets_of(connection, list(names.values()))
    faults: dict[int, Fault] = {}
    for n, usage, received_us, _, _ in placed:
        target = targets.get(names[n]) if n in names else None
        if target is not None:
            place = usage.subscription, usage.product, instant(received_us)
            if fault := find_fault(catalogue, *place, target, corrections_by_id.get(target.digest)):
                faults[n] = fault
    return faults
