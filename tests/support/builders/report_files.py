"""Files of reports in every format, made from rows without a worker."""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from services.reporting.domain.reports.columns import Row
from services.reporting.domain.reports.definitions import Format, Report
from services.reporting.exports.formats.catalogue import FORMATS
from services.reporting.exports.formats.file_format import About
from tests.support.builders.published import NOW

FIRST_PART = 3
"""Rows of the first of two parts."""


def report_file(report: Report, format: Format, rows: Sequence[Row], **parameters: str) -> bytes:
    """Make a file of two parts, as the worker does."""
    about = About(report, parameters, NOW, NOW, "somebody@acme.example")
    parts = []
    for some in (rows[:FIRST_PART], rows[FIRST_PART:]):
        part = io.BytesIO()
        writer = FORMATS[format].begin_part(about, part)
        writer.write(some)
        writer.close()
        parts.append(io.BytesIO(part.getvalue()))
    sink = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        FORMATS[format].assemble(about, parts, sink, Path(folder))
    return sink.getvalue()
