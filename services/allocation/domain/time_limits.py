"""The range of instants that a command may name: what every reader and the database can store and compute with."""

from datetime import UTC, datetime
from typing import Final

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(3000, 1, 1, tzinfo=UTC)


def errors_of(**instants: datetime | None) -> list[tuple[str, str]]:
    """Return what is wrong, as ``(field, message)``. An instant that is not given is valid."""
    message = f"must lie between the years {EARLIEST.year} and {LATEST.year}"
    return [(field, message) for field, at in instants.items() if at is not None and not EARLIEST <= at < LATEST]
