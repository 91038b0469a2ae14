"""What a report is: its columns, parameters and formats, and who may make it."""

from dataclasses import dataclass
from typing import Literal, NewType

from services.reporting.domain.reports.columns import Column

ReportId = NewType("ReportId", str)
Format = Literal["csv", "ndjson", "json", "xlsx", "parquet", "pdf"]
TABLE_FORMATS: tuple[Format, ...] = ("csv", "ndjson", "json", "xlsx", "parquet")
ParameterName = Literal[
    "subscription", "account", "product", "meter", "from", "to", "tz", "action", "actor", "outcome", "reason", "flavour"
]
Audience = Literal["vendor", "view", "view_audit", "view_people"]
"""Who may make a report.

``vendor``: vendor operators only. The others: the vendor, and who has this permission in the subscription; without
the parameter ``subscription``, the rows of all subscriptions in which the person has it.
"""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a report: ``description`` is one sentence, with its default."""

    name: ParameterName
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A report.

    ``title``: a heading. ``description``: one sentence that says what a row is. ``has_history``: whether it can be made
    as of a past instant (``as_of``). ``names_people``: whether its rows contain people's names, addresses or texts, so
    that its files are deleted when one of them is erased.
    """

    id: ReportId
    title: str
    description: str
    columns: tuple[Column, ...]
    parameters: tuple[Parameter, ...]
    audience: Audience
    formats: tuple[Format, ...] = TABLE_FORMATS
    has_history: bool = False
    names_people: bool = False

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The names of its parameters."""
        return tuple(one.name for one in self.parameters)
