"""The reports as a page of the documentation.

``python -m services.reporting.domain.reports.reference > docs/reports.md`` writes the page. A test compares it with
what this says now.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from services.reporting.domain.permissions import PERMISSIONS, VENDOR
from services.reporting.domain.reports.catalogue import REPORTS
from services.reporting.domain.reports.columns import Column
from services.reporting.domain.reports.definitions import Audience, Report
from services.reporting.domain.reports.parameter_checks import KEPT_DAYS

_ROLES: Final = {
    "primary": "primary contact",
    "allocator": "allocator",
    "auditor": "auditor",
    "viewer": "viewer",
    "useradmin": "user administrator",
}
_HEAD: Final = """# Reports

Written by `python -m services.reporting.domain.reports.reference` from the definitions in
`services/reporting/domain/reports`, which also make the rows. `GET /v1/reports` lists those that the caller may make.

- Who may read what a report contains may make it. A row that a person may not read is left out. Without the parameter
  `subscription`, a report has the rows of all subscriptions that the person may see.
- Times are in UTC, to the microsecond; ends are exclusive. Units are integers. Decimals are exact.
- People are shown by their e-mail address, and those who were erased by the first digits of their id.
- Rows are in the order of their keys, mostly subscription and time, and so the same in every file.
- A report with history can be made as of a past instant (`as_of`); others show what is now.

"""
_AUDIT: Final = """
A file of this report is verified with `python -m services.reporting verify-audit --file FILE`, which needs no database.
It names the first row that is not as it was exported. Records that the file leaves out (filters, and what its maker may
not see) are gaps in the numbers of a chain; they are listed, and what stands between them is verified. `hash` and
`recorded` prove what was recorded: compare the last hash of a chain with one that was noted elsewhere. `row_hash` finds
damage to the other cells, but anyone who changes them on purpose can compute it again.
"""


def page() -> str:
    """Write the page, in Markdown."""
    rows = [["Report", "Who may make it", "Formats", "History"]]
    rows += [
        [
            f"[`{one.id}`](#{one.id})",
            _who(one.audience),
            ", ".join(one.formats),
            "yes" if one.has_history else "",
        ]
        for one in REPORTS.values()
    ]
    return _HEAD + _table(rows) + "".join(_report(one) for one in REPORTS.values())


def _report(report: Report) -> str:
    kept = KEPT_DAYS.get(report.id)
    retained = f" Usage is retained for {kept} days." if kept else ""
    parts = [
        f"\n## {report.id}\n\n{report.title}. {report.description}{retained}\n",
        "\n" + _table([["Parameter", "Meaning"], *([f"`{one.name}`", one.description] for one in report.parameters)]),
        "\n" + _table([["Column", "Type", "Meaning"], *(_row(one) for one in report.columns)]),
    ]
    return "".join(parts) + (_AUDIT if report.id == "audit" else "")


def _row(column: Column) -> Sequence[str]:
    kind = f"decimal ({column.scale})" if column.type == "decimal" else column.type
    return f"`{column.name}`", f"{kind}, nullable" if column.nullable else kind, column.description


def _who(audience: Audience) -> str:
    if audience == "vendor":
        return "vendor"
    return ", ".join(
        ["vendor", *(_ROLES[role] for role, may in PERMISSIONS.items() if role != VENDOR and audience in may)]
    )


def _table(rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|{'---|' * (lines[0].count(' | ') + 1)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
