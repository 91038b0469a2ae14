"""Whether a reversal may have what it names: the one place that says so, when it is applied and when it is replayed."""

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
"""A reason, and a sentence."""


async def find_named(
    connection: Connection, names: Sequence[UUID]
) -> tuple[dict[UUID, Target], dict[UUID, Correction]]:
    """The events with these identities, and what those of them that are corrections say, by identity."""
    targets = await corrections.find_targets(connection, names)
    identities = [(target.digest, target.at) for target in targets.values() if target.meter == NO_METER]
    return targets, await corrections.find_corrections(connection, identities) if identities else {}


def find_fault(  # noqa: PLR0917  # what is compared
    catalogue: Catalogue,
    subscription: int,
    product: str,
    received_at: datetime,
    named: Target,
    said: Correction | None,
) -> Fault | None:
    """Why a reversal of this subscription and product, accepted then, may not have what it names."""
    if said and said.kind == REVERSAL:
        return "unsupported_type", "a reversal cannot be reversed"
    of = said.product if said else catalogue.meters[named.meter].product if named.meter else ""
    if (named.subscription, of) != (subscription, product):
        return "identity_conflict", "the event that it names is of another subscription or product"
    if named.at < received_at - OLDEST:
        return "too_old", "what it reverses was more than 35 days old"
    return None


async def find_faults(connection: Connection, placed: Sequence[Placed], catalogue: Catalogue) -> dict[int, Fault]:
    """The faults of reversals whose targets are known, by their numbers in the batch."""
    names = {
        item.n: UUID(bytes=digest_of(data.source, data.id))
        for item in placed
        if item.usage.correction and isinstance(data := item.usage.correction.data, Reversed)
    }
    if not names:
        return {}
    targets, said = await find_named(connection, list(names.values()))
    faults: dict[int, Fault] = {}
    for n, usage, received_us, _, _ in placed:
        named = targets.get(names[n]) if n in names else None
        if named is not None:
            place = usage.subscription, usage.product, instant(received_us)
            if fault := find_fault(catalogue, *place, named, said.get(named.digest)):
                faults[n] = fault
    return faults
