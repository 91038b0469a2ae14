"""Corrections of usage.

A reversal takes back one event; a purge takes one resource out of a window.
"""

import json
from datetime import datetime
from typing import Annotated, Any

import msgspec

from services.metering.domain.reasons import Claim, RejectedError
from services.metering.domain.text_checks import check_text
from shared.events.usage import ResourcePurged, UsageReversed

REVERSAL, PURGE = 5, 6
"""Kinds of corrections, beside the kinds of meters in ``Usage.kind``."""
NO_METER = 0
"""Meter number of the row that a correction has in raw usage."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Slug = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Reversed(msgspec.Struct, frozen=True):
    """The ``data`` of a reversal: the event to take back, and the reason."""

    product: _Slug
    source: _Name
    id: _Name
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Purged(msgspec.Struct, frozen=True):
    """The ``data`` of a purge."""

    product: _Slug
    meter: _Slug
    resource: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class CorrectionEvent(msgspec.Struct, frozen=True):
    """A correction as it was read, not yet checked against the catalogue."""

    id: _Name
    source: _Name
    subject: Annotated[str, msgspec.Meta(min_length=1)]
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    data: Reversed | Purged
    said_by: Claim

    def claim(self) -> Claim:
        """Return what the event states about itself, for quarantine."""
        return self.said_by

    @property
    def content(self) -> str:
        """Canonical JSON of ``data``: two events of one identity must agree on it."""
        return json.dumps(msgspec.to_builtins(self.data), sort_keys=True)


class _Envelope(msgspec.Struct):
    id: _Name
    source: _Name
    subject: Annotated[str, msgspec.Meta(min_length=1)]
    time: Annotated[datetime, msgspec.Meta(tz=True)]


KINDS: dict[str, type[Reversed] | type[Purged]] = {
    UsageReversed.event_type: Reversed,
    ResourcePurged.event_type: Purged,
}


def read_correction(document: dict[str, Any], claim: Claim) -> CorrectionEvent:
    """Read a correction from a document whose shape is checked.

    Raises:
        RejectedError: it does not have the fields of its type, or reverses itself.
    """
    try:
        envelope = msgspec.convert(document, _Envelope)
        data = msgspec.convert(document["data"], KINDS[document["type"]])
        check_text((envelope.id, envelope.source, envelope.subject, *msgspec.structs.astuple(data)))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RejectedError("malformed", str(error), claim) from None
    if isinstance(data, Reversed) and (data.source, data.id) == (envelope.source, envelope.id):
        raise RejectedError(
            "malformed", "a reversal needs an id of its own: it names itself as what it reverses", claim
        )
    return CorrectionEvent(envelope.id, envelope.source, envelope.subject, envelope.time, data, claim)
