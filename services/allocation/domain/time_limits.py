"""The range of instants that a command may name.

Every reader and the database can store these instants and compute with them.
"""

from datetime import UTC, datetime
from typing import Final

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(3000, 1, 1, tzinfo=UTC)


def errors_of(**instants: datetime | None) -> list[tuple[str, str]]:
    """Return what is wrong with the instants, as ``(field, message)``.

    An instant that is not given is valid.
    """
    message = f"must lie between the years {EARLIEST.year} and {LATEST.year}"
    return [(field, message) for field, at in instants.items() if at is not None and not EARLIEST <= at < LATEST]
