"""Files of a format, made in this process."""

import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from services.reporting.domain.reports.columns import Column, Row
from services.reporting.domain.reports.definitions import Parameter, Report, ReportId
from services.reporting.exports.formats.file_format import About, FileFormat
from services.reporting.exports.storage.storage import write_only

AT = datetime(2026, 2, 20, 3, tzinfo=UTC)


def about(columns: Sequence[Column], **parameters: str) -> About:
    """What a file of these columns is about."""
    names = ("subscription", "flavour")
    report = Report(
        id=ReportId("numbers"),
        title="Numbers",
        description="One row per number.",
        columns=tuple(columns),
        parameters=tuple(Parameter(one, "A parameter.") for one in names),  # type: ignore[arg-type]
        audience="view",
    )
    return About(report, parameters, as_of=AT, made_at=AT, made_by="paula@acme.example")


def file_of(format: FileFormat, what: About, *parts: Sequence[Row], folder: Path | None = None) -> bytes:
    """A file of parts, each written in steps of two rows."""
    written = [_part(format, what, rows) for rows in parts]
    whole = bytearray()
    format.assemble(what, _opened(written), write_only(whole.extend), folder)
    return bytes(whole)


def _part(format: FileFormat, what: About, rows: Sequence[Row]) -> bytes:
    part = bytearray()
    writer = format.begin_part(what, write_only(part.extend))
    for start in range(0, len(rows), 2):
        writer.write(rows[start : start + 2])
    writer.close()
    return bytes(part)


def _opened(parts: Sequence[bytes]) -> Iterator[IO[bytes]]:
    yield from map(io.BytesIO, parts)
