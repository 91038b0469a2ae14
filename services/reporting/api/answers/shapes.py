"""What several answers share."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict

from services.reporting.api.fields import Shown


class Problem(Shown):
    """RFC 9457, with a stable ``code``; a code's numbers are members beside it."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:unitpool:problem:insufficient_units",
                    "title": "Refused",
                    "status": 409,
                    "detail": "300 units are wanted and 120 are unallocated.",
                    "code": "insufficient_units",
                    "purchased": 1000,
                    "allocated": 880,
                    "requested": 300,
                    "available": 120,
                }
            ]
        },
    )
    type: str
    title: str
    status: int
    detail: str
    code: str


class Commanded(Shown):
    """``command_id`` is there in the answer to a write."""

    command_id: str | None = None


class Pending(Shown):
    """No outcome came in time: ask ``Location``."""

    command_id: str
    status: Literal["pending"]


class Span(Shown):
    start: datetime
    end: datetime
    days_left: int


class Done(Commanded):
    """The answer to a write of somebody who does not see what they changed: its id, and nothing else."""

    model_config = ConfigDict(extra="forbid")
    id: str | None


class PersonShown(Shown):
    email: str
    name: str
