"""Parquet: a row group for each part, compressed with zstd."""

from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from services.reporting.exports.formats.arrow_parts import ArrowPart, open_part, schema_of
from services.reporting.exports.formats.file_format import About

DICTIONARY_BYTES: Final = 128 * 1024
"""Largest dictionary of a column.

A larger one takes memory, and saves no space.
"""


class ParquetFormat:
    """Parquet, with instants in UTC to the microsecond and decimals of 38 digits."""

    def begin_part(self, about: About, sink: IO[bytes]) -> ArrowPart:
        """Begin a part."""
        return ArrowPart(about, sink)

    def assemble(self, about: About, parts: Iterable[IO[bytes]], sink: IO[bytes], _folder: Path | None) -> None:
        """Write each part as a row group."""
        schema = schema_of(about.report.columns)
        options = {"compression": "zstd", "dictionary_pagesize_limit": DICTIONARY_BYTES}
        with pq.ParquetWriter(sink, schema, **options) as writer:
            for part in parts:
                with open_part(part) as reader:
                    table: pa.Table = reader.read_all()
                if table.num_rows:
                    writer.write_table(table, row_group_size=table.num_rows)
