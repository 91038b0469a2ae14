"""Who asks."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Caller:
    """A person whose token or session was verified. ``email`` is as ``shared.people`` reads it: it is who they are."""

    email: str
    name: str
    vendor: bool = False
    address: str | None = None
    correlation_id: str | None = None
    said_at: datetime | None = None
    """When the issuer said so; ``None`` of a session, which is judged where it is found."""
    ends_in_seconds: float | None = None
    """How long the token or session is still good, from when it was verified."""
