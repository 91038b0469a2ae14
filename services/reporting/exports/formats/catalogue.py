"""The formats by name."""

from collections.abc import Mapping
from typing import Final

from services.reporting.domain.reports.definitions import Format
from services.reporting.exports.formats.csv_file import CsvFormat
from services.reporting.exports.formats.file_format import FileFormat
from services.reporting.exports.formats.json_files import JsonFormat, NdjsonFormat
from services.reporting.exports.formats.parquet import ParquetFormat
from services.reporting.exports.formats.pdf import PdfFormat
from services.reporting.exports.formats.xlsx import XlsxFormat

FORMATS: Final[Mapping[Format, FileFormat]] = {
    "csv": CsvFormat(),
    "ndjson": NdjsonFormat(),
    "json": JsonFormat(),
    "xlsx": XlsxFormat(),
    "parquet": ParquetFormat(),
    "pdf": PdfFormat(),
}
