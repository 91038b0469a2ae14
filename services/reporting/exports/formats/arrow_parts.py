"""Parts as Arrow streams, from which Parquet, XLSX and PDF files are made."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import IO, Any, Final

import pyarrow as pa
from pyarrow import ipc

from services.reporting.domain.reports.columns import Column, ColumnType, Row
from services.reporting.exports.formats.file_format import About

_TYPES: Final[dict[ColumnType, pa.DataType]] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "boolean": pa.bool_(),
}
DECIMAL_DIGITS: Final = 38


def use_little_memory() -> None:
    """Make Arrow give memory back at once.

    Its own allocators keep some 30 MB for later use.
    """
    pa.set_memory_pool(pa.system_memory_pool())


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of a report's columns, each with its description."""
    return pa.schema(
        [
            pa.field(one.name, _type(one), nullable=one.nullable, metadata={"description": one.description})
            for one in columns
        ]
    )


def _type(column: Column) -> pa.DataType:
    if column.type == "decimal":
        return pa.decimal128(DECIMAL_DIGITS, column.scale)
    return _TYPES[column.type]


class ArrowPart:
    """A part as a compressed Arrow stream, a batch for each step."""

    def __init__(self, about: About, sink: IO[bytes]) -> None:
        self._columns = about.report.columns
        self._schema = schema_of(self._columns)
        options = ipc.IpcWriteOptions(compression="zstd")
        self._writer = ipc.new_stream(sink, self._schema, options=options)

    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows as a batch."""
        if rows:
            values = zip(*rows, strict=True)
            arrays = [_array(one, field.type) for one, field in zip(values, self._schema, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))

    def close(self) -> None:
        """Write the end of the stream."""
        self._writer.close()


def _array(values: Sequence[Any], type: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type)
    except UnicodeEncodeError:  # a half of a surrogate pair, which must not fail the export
        return pa.array([None if one is None else one.encode("utf-8", "replace").decode() for one in values], type)


def batches(parts: Iterable[IO[bytes]]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of all parts, in order."""
    for part in parts:
        with open_part(part) as reader:
            yield from reader


def open_part(part: IO[bytes]) -> ipc.RecordBatchStreamReader:
    """Open a part, which is decompressed in this thread.

    A worker makes several exports at a time.
    """
    return ipc.open_stream(part, options=ipc.IpcReadOptions(use_threads=False))


def plain(number: Decimal) -> str:
    """Write a decimal without the zeros that its column's scale added."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
