"""Corrections: an earlier event does not count (a reversal), or a resource is gone (a purge)."""

import json
from datetime import datetime
from typing import Annotated, Any

import msgspec

from services.metering.domain.reasons import Claim, RejectedError
from services.metering.domain.text import check_text
from shared.events.usage import ResourcePurged, UsageReversed

REVERSAL, PURGE = 5, 6
"""Stand where usage has its meter's kind."""
NO_METER = 0
"""The meter of a correction's own row among the raw usage."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Slug = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Reversed(msgspec.Struct, frozen=True):
    """The ``data`` of a reversal: which event, and why."""

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
    """A correction, read but not judged."""

    id: _Name
    source: _Name
    subject: Annotated[str, msgspec.Meta(min_length=1)]
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    data: Reversed | Purged
    said_by: Claim

    def claim(self) -> Claim:
        """What it says about itself."""
        return self.said_by

    @property
    def content(self) -> str:
        """What must be the same where the identity is."""
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
    """The correction in a document whose envelope is sound.

    Raises:
        RejectedError: it is not what its type says.
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
