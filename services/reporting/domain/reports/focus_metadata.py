"""The metadata of a Contract Commitment file of FOCUS 1.4, which stands beside it."""

import json
from datetime import UTC, datetime
from typing import Final

from services.reporting.domain.reports.columns import Column, ColumnType
from services.reporting.domain.reports.focus import PROVIDER
from services.reporting.domain.reports.focus_columns import FOCUS_COMMITMENTS
from shared.events.envelope import rfc3339

_SCHEMA_ID: Final = "unitpool-contract-commitment-1"
_SCHEMA_CREATED: Final = datetime(2026, 11, 30, tzinfo=UTC)
_TYPES: Final[dict[ColumnType, str]] = {"text": "STRING", "decimal": "DECIMAL", "timestamp": "DATETIME"}
_PRECISION: Final = 38


def focus_metadata(instance: str, as_of: datetime, made_at: datetime) -> str:
    """Return the metadata of a file as JSON text.

    ``instance``: the id of the export. ``as_of``: the instant of its rows; ``made_at``: when it was completed.
    """
    document = {
        "DataGenerator": {"DataGenerator": PROVIDER},
        "DatasetInstance": [
            {
                "DatasetInstanceId": instance,
                "DatasetInstanceName": FOCUS_COMMITMENTS.title,
                "FocusDatasetId": "ContractCommitment",
            }
        ],
        "Recency": [
            {
                "DatasetInstanceId": instance,
                "RecencyLastUpdated": rfc3339(made_at),
                "DatasetInstanceLastUpdated": rfc3339(as_of),
                "DatasetInstanceComplete": True,
            }
        ],
        "Schema": [
            {
                "SchemaId": _SCHEMA_ID,
                "CreationDate": rfc3339(_SCHEMA_CREATED),
                "FocusVersion": "1.4",
                "DatasetInstanceId": instance,
                "ColumnDefinition": [_definition(one) for one in FOCUS_COMMITMENTS.columns],
            }
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _definition(column: Column) -> dict[str, str | int]:
    definition: dict[str, str | int] = {"ColumnName": column.name, "DataType": _TYPES[column.type]}
    if column.type == "decimal":
        definition |= {"NumericPrecision": _PRECISION, "NumberScale": column.scale}
    elif column.type == "text":
        definition["StringEncoding"] = "UTF-8"
    return definition
