"""Models that several answers share."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict

from services.reporting.api.fields import AnswerBody


class Problem(AnswerBody):
    """RFC 9457, with a stable ``code``; the code's numbers are further members."""

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


class WriteAnswer(AnswerBody):
    """``command_id`` is present in the answer to a write."""

    command_id: str | None = None


class Pending(AnswerBody):
    """No outcome arrived in time: poll ``Location``."""

    command_id: str
    status: Literal["pending"]


class Span(AnswerBody):
    start: datetime
    end: datetime
    days_left: int


class Done(WriteAnswer):
    """The answer to a write whose effect the caller may not see: the id only."""

    model_config = ConfigDict(extra="forbid")
    id: str | None


class PersonShown(AnswerBody):
    email: str
    name: str
