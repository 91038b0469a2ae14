"""The rows of an exported audit log, as any of the formats has them."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import product
from typing import Final, NamedTuple

from services.reporting.domain.reports.audit import AUDIT, COLUMNS, row_hash
from shared.events.envelope import rfc3339

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Before a text that begins so, the flavour ``spreadsheet`` puts ``'``."""
_GUARDS_MAX: Final = 8
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_TEXTS: Final = frozenset(one.name for one in AUDIT.columns if one.type == "text")
_AT: Final = COLUMNS.index("at")
_ROW_HASH: Final = COLUMNS.index("row_hash")


class CellError(ValueError):
    """A cell cannot be read; the message names it."""


class ExportedRecord(NamedTuple):
    """A row, with the columns of the report."""

    row: int
    account: str | None
    number: int
    at: datetime
    subscription: str | None
    actor: str | None
    address: str | None
    action: str | None
    object: str | None
    before: str | None
    after: str | None
    outcome: str | None
    reason: str | None
    correlation_id: str | None
    event: str | None
    source: str | None
    previous_hash: str | None
    hash: str | None
    recorded: str | None
    row_hash: str | None
    last: bool

    @property
    def computed_row_hash(self) -> str:
        """The hash of its cells; ``row_hash`` should have it."""
        return row_hash([cell for place, cell in enumerate(self) if place not in {_AT, _ROW_HASH}])

    def unguarded(self) -> Iterator["ExportedRecord"]:
        """Yield itself, and what it was before ``'`` was put before some of its texts.

        A text that began with ``'`` is not told from one to which it was added, so each is tried.
        """
        yield self
        guarded = [
            name
            for name, value in zip(COLUMNS, self, strict=True)
            if name in _TEXTS
            and isinstance(value, str)
            and value.startswith("'")
            and value[1:].startswith(FORMULA_STARTS)
        ]
        if len(guarded) > _GUARDS_MAX:
            choices: Iterator[tuple[bool, ...]] = iter([(True,) * len(guarded)])
        else:
            choices = product((True, False), repeat=len(guarded))
        for chosen in choices:
            names = [name for name, is_chosen in zip(guarded, chosen, strict=True) if is_chosen]
            if names:
                yield self._replace(**{name: getattr(self, name)[1:] for name in names})


def read_record(cells: Mapping[str, object]) -> ExportedRecord:
    """Read the cells of a row, by column; text as CSV has it is read as well.

    Raises:
        CellError: one is missing or is no value of its column.
    """
    values: list[object] = []
    for column in AUDIT.columns:
        if column.name not in cells:
            raise CellError(f"damaged: its cell {column.name} is missing")
        try:
            values.append(_READ[column.type](cells[column.name]))
        except ValueError:
            raise CellError(f"damaged: its cell {column.name} is no {column.type}") from None
    return ExportedRecord(*values)  # type: ignore[arg-type]  # each has its column's type


def _text(cell: object) -> str | None:
    if cell is None or cell == "":
        return None
    if isinstance(cell, str):
        return cell
    raise CellError


def _integer(cell: object) -> int:
    if isinstance(cell, str) and _NUMBER.fullmatch(cell):
        return int(cell)
    if isinstance(cell, int) and not isinstance(cell, bool) and 0 <= cell < 2**63:
        return cell
    raise ValueError(cell)


def _boolean(cell: object) -> bool:
    if isinstance(cell, bool):
        return cell
    if cell in {"true", "false"}:
        return cell == "true"
    raise ValueError(cell)


def _time(cell: object) -> datetime:
    at = datetime.fromisoformat(cell) if isinstance(cell, str) else cell
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise ValueError(cell)
    at = at.astimezone(UTC)
    if isinstance(cell, str) and cell != rfc3339(at):
        raise ValueError(cell)
    return at


_READ: Final = {"text": _text, "integer": _integer, "boolean": _boolean, "timestamp": _time}
