"""The rows of reports: how they are read in steps, each in a short transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.reporting.domain.caller import Caller
from services.reporting.domain.reports.columns import Row
from services.reporting.domain.reports.definitions import Report
from shared.runtime.postgres.pool import Connection

Position = str
"""Where a report's rows go on.

It is opaque text of its source, at most 1,000 characters, stored between two steps.
"""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """A report as it was requested.

    ``parameters``: valid values by name, as text; times in RFC 3339. ``as_of``: the rows are those of this instant.
    ``caller``: the person for whom it is made; rows that they may not see are left out.
    """

    report: Report
    parameters: Mapping[str, str]
    as_of: datetime
    caller: Caller


@dataclass(frozen=True, slots=True)
class Step:
    """Some rows, in the report's order, and where the next step goes on.

    ``position`` ``None``: there are no more.
    """

    rows: Sequence[Row]
    position: Position | None


class RowSource(Protocol):
    """The rows of one request.

    It holds nothing between two steps but what the constructor was given.

    The rows of a request are the same whatever the sizes of the steps, and also if steps are made by two processes.
    """

    async def count(self, connection: Connection) -> int:
        """Estimate the number of rows, for the progress that a person sees."""
        ...

    async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
        """Read the next rows, about ``limit`` of them.

        ``position`` ``None``: from the beginning. A step may return fewer rows than ``limit``, or none, and still have
        a position.
        """
        ...
