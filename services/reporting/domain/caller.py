"""Who asks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """A person whose token or session was verified. ``email`` is lower-cased: it is who they are."""

    email: str
    name: str
    vendor: bool = False
    address: str | None = None
    correlation_id: str | None = None
