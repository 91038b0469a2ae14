"""Commands on ingest keys and on usage in quarantine."""

from pydantic import Field

from shared.events.envelope import Instant, Payload
from shared.events.ids import ProductRef
from shared.events.quarantine import QuarantineWanted
from shared.units import MAX_UNITS


class CreateIngestKey(Payload):
    """Create an ingest key.

    ``secret_sha256`` is the hash of the key in hex; the requester was shown the key once.
    """

    event_type = "unitpool.metering.create-ingest-key.v1"
    key: str = Field(min_length=1, max_length=64)
    product: ProductRef
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    expires_at: Instant | None = None
    events_per_second: int | None = Field(None, ge=1, le=MAX_UNITS)
    max_body_bytes: int | None = Field(None, ge=1, le=MAX_UNITS)


class RotateIngestKey(Payload):
    """Create a key that replaces ``key``, with its limits.

    The old one is valid for ``overlap_seconds`` more.
    """

    event_type = "unitpool.metering.rotate-ingest-key.v1"
    key: str = Field(min_length=1, max_length=64)
    new_key: str = Field(min_length=1, max_length=64)
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    overlap_seconds: int = Field(86_400, ge=0, le=31 * 86_400)
    expires_at: Instant | None = None


class RevokeIngestKey(Payload):
    event_type = "unitpool.metering.revoke-ingest-key.v1"
    key: str = Field(min_length=1, max_length=64)


class ReplayQuarantine(Payload):
    """Replay all quarantined usage that matches ``wanted`` now, with any reason."""

    event_type = "unitpool.metering.replay-quarantine.v1"
    replay: str = Field(min_length=1, max_length=64)
    wanted: QuarantineWanted
