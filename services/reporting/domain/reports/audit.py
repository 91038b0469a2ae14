"""The audit report: a file of it can be verified without the database.

A row has what a record's hash is computed from (``domain/audit_chain.py``): its number in the account's chain, event
id, source, the recorded text byte for byte, and the previous hash. The readable cells repeat the recorded text, except
those that show people: an address in place of an id, an opened text in place of a sealed one. ``row_hash`` covers
these too, so that damage to any cell shows; who changes a cell on purpose can compute it again, but not ``hash``.

``row`` counts the file's rows and ``last`` marks its end, so that a missing row and a cut file show. Rows that the file
leaves out on purpose (filters, and records that its maker may not see) are gaps in the numbers of a chain.
"""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

from services.reporting.domain.audited_people import leaves_out, show_object, show_state
from services.reporting.domain.reports.columns import Column, Row, Value
from services.reporting.domain.reports.definitions import Parameter, Report, ReportId
from services.reporting.domain.reports.parameters import ACCOUNT, FLAVOUR, FROM, SUBSCRIPTION, TO
from shared.events.sealed import Open, open_all

AUDIT: Final = Report(
    id=ReportId("audit"),
    title="Audit log",
    description="One row per decision, allowed or denied, with its hash; `verify-audit --file` verifies the file.",
    columns=(
        Column("row", "integer", "Number of the row in the file, from 1."),
        Column("account", "text", "Account whose chain the record belongs to, or `vendor`."),
        Column("number", "integer", "Number of the record in this chain, from 1."),
        Column("at", "timestamp", "When it was decided."),
        Column("subscription", "text", "Id of the subscription that it is about.", nullable=True),
        Column("actor", "text", "E-mail address of the person, or the part of the system, that acted."),
        Column("address", "text", "Network address of the request.", nullable=True),
        Column("action", "text", "What was done or attempted, such as `apply-plan`."),
        Column("object", "text", "To what it was done; empty: the record cannot be read.", nullable=True),
        Column("before", "text", "State before, in JSON.", nullable=True),
        Column("after", "text", "State afterwards, in JSON.", nullable=True),
        Column("outcome", "text", "`allowed` or `denied`."),
        Column("reason", "text", "Reason that was given, or why it was denied.", nullable=True),
        Column("correlation_id", "text", "Id of the request.", nullable=True),
        Column("event", "text", "Id of the event that recorded it; part of the hash."),
        Column("source", "text", "Service that recorded it; part of the hash."),
        Column("previous_hash", "text", "Hash of the previous record of the chain, in hexadecimal."),
        Column("hash", "text", "SHA-256 of the record at its place in the chain, in hexadecimal."),
        Column(
            "recorded",
            "text",
            "The record byte for byte, in JSON; empty if it names people whom the file's maker may not see.",
            nullable=True,
        ),
        Column("row_hash", "text", "SHA-256 of all other cells but `at`, to detect damage, in hexadecimal."),
        Column("last", "boolean", "Whether it is the last row of the file."),
    ),
    parameters=(
        SUBSCRIPTION,
        ACCOUNT,
        FROM,
        TO,
        Parameter("action", "Only this action, such as `apply-plan`; without it, all."),
        Parameter("actor", "Only what this e-mail address, or part of the system, did; without it, all."),
        Parameter("outcome", "Only `allowed` or only `denied`; without it, both."),
        FLAVOUR,
    ),
    audience="view_audit",
    has_history=True,
    names_people=True,
)
COLUMNS: Final = tuple(one.name for one in AUDIT.columns)
_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_AT: Final = COLUMNS.index("at")
"""The cell that ``row_hash`` leaves out.

Not every format has the time to the microsecond; the recorded text has.
"""


class ChainedRecord(NamedTuple):
    """A record of the log, with the columns that were extracted from it."""

    account: str
    number: int
    at: datetime
    subscription: str | None
    actor: str
    action: str
    outcome: str
    event_id: str
    source: str
    previous_hash: bytes
    hash: bytes
    recorded: str


def audit_row(record: ChainedRecord, row: int, show: Open, hidden: AbstractSet[str], *, is_last: bool) -> Row:
    """Return the row of a record.

    ``show`` returns what to show of a person's id or a sealed text. Of its members, those who are ``hidden`` are left
    out, and with them the recorded text. A record that cannot be read has its columns and text only.
    """
    content = _content(record.recorded)
    what = content.get("object")
    states = (content.get("before"), content.get("after"))
    is_whole = not any(leaves_out(one, hidden) for one in states)
    cells: list[Value] = [
        row,
        record.account,
        record.number,
        record.at,
        record.subscription,
        show(record.actor),
        _text(content.get("address")),
        record.action,
        show_object(what, show) if isinstance(what, str) else None,
        *(None if one is None else _json(show_state(one, show, hidden)) for one in states),
        record.outcome,
        _text(open_all(content.get("reason"), show)),
        _text(content.get("correlation_id")),
        record.event_id,
        record.source,
        record.previous_hash.hex(),
        record.hash.hex(),
        record.recorded if is_whole else None,
    ]
    return (*cells, row_hash([*cells[:_AT], *cells[_AT + 1 :], is_last]), is_last)


def row_hash(cells: Sequence[object]) -> str:
    """Return the hash of a row: SHA-256 of the JSON array of its other cells.

    ``at`` is left out. An empty text is the same as none, as it is in CSV.
    """
    return sha256(_json([None if cell == "" else cell for cell in cells]).encode("utf-8", "surrogatepass")).hexdigest()


def _content(recorded: str) -> Mapping[str, object]:
    try:
        content = json.loads(recorded)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
