"""Base models and fields of request bodies.

Unknown fields and wrong types are refused by name.
"""

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from shared import people
from shared.events.envelope import as_written
from shared.runtime.http.middleware import ProblemError

FIRST_YEAR, LAST_YEAR = 1971, 2300


class Request(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def example(**body: Any) -> ConfigDict:
    """Configure a request's model with an example for the API's description."""
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [body]})


class AnswerBody(BaseModel):
    """The body of an answer."""

    model_config = ConfigDict(populate_by_name=True)

    @classmethod
    async def of(cls, read: Awaitable[object]) -> Self:
        """Build the answer from the attributes of the same names of what ``read`` returns."""
        return cls.model_validate(await read, from_attributes=True)


def _sensible(at: datetime) -> datetime:
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"must be between the years {FIRST_YEAR} and {LAST_YEAR}")
    return at.astimezone(UTC)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable text")
    return text


At = Annotated[AwareDatetime, BeforeValidator(as_written), AfterValidator(_sensible)]
"""A point in time, with its offset."""


NewEmail = Annotated[str, StringConstraints(max_length=people.MAX_LENGTH), AfterValidator(people.read_address)]
"""An e-mail address that is to identify a person."""


def invalid(field: str, message: str) -> ProblemError:
    """Build a 422 problem about one field."""
    errors = [{"field": field, "message": message}]
    return ProblemError.of("invalid_request", "The request is not valid.", errors=errors)


def check_order(start: datetime | None, end: datetime | None) -> None:
    """Check the times of a query's ``from`` and ``to``.

    Raises:
        ProblemError: ``end`` is not after ``start``.
    """
    if start is not None and end is not None and end <= start:
        raise invalid("to", "must be after from")


Text = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_printable)]
Source = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Limit = Annotated[int, Field(ge=1, le=200, description="Most items in one answer")]
Cursor = Annotated[str | None, Field(max_length=6000, description="`next_cursor` of the previous page")]
