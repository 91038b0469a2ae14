"""The caller of a request."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Caller:
    """A person whose token or session was verified.

    They are identified by ``email``, as ``shared.people`` reads it.
    """

    email: str
    name: str
    vendor: bool = False
    address: str | None = None
    correlation_id: str | None = None
    said_at: datetime | None = None
    """When the issuer asserted ``vendor``.

    ``None`` for a session, whose role is read with it.
    """
    ends_in_seconds: float | None = None
    """Seconds for which the token or session is valid, from its verification."""
