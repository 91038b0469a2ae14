"""What a format of files does: it writes parts, and assembles a file from them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

from services.reporting.domain.reports.columns import Row
from services.reporting.domain.reports.definitions import Report


class ExportError(Exception):
    """The export can never be made: the message is a sentence for who requested it."""


@dataclass(frozen=True, slots=True)
class About:
    """What a file is about, for those formats that say it.

    ``parameters``: as requested. ``made_by``: the address of who requested it.
    """

    report: Report
    parameters: Mapping[str, str]
    as_of: datetime
    made_at: datetime
    made_by: str


class PartWriter(Protocol):
    """The writer of one part."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows."""
        ...

    def close(self) -> None:
        """Write what the part ends with. Its sink stays open."""
        ...


class FileFormat(Protocol):
    """A format. Its methods block: call them in a thread."""

    def begin_part(self, about: About, sink: IO[bytes]) -> PartWriter:
        """Begin a part that is written to ``sink``."""
        ...

    def assemble(self, about: About, parts: Iterable[IO[bytes]], sink: IO[bytes], folder: Path | None) -> None:
        """Write the file to ``sink``, which cannot seek, from all parts in order.

        ``parts`` opens each when it is reached. ``folder``: for temporary files; ``None``: the system's.

        Raises:
            ExportError: the format cannot hold these rows.
        """
        ...


def filters(about: About) -> dict[str, str]:
    """Return the parameters that chose the rows, in the order of the report's own."""
    given = about.parameters
    return {name: given[name] for name in about.report.parameter_names if name in given and name != "flavour"}
