"""The envelope of events and commands: CloudEvents 1.0 in structured JSON.

It has the extensions that Unitpool adds.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LOST_PLUS = re.compile(r".*[0-9] [0-9]{2}:?[0-9]{2}")


def as_written(value: object) -> object:
    """Require a time or day to be text, or a ``date``; return it unchanged.

    The text must begin with a day such as ``2026-11-24``.

    Raises:
        ValueError: another value (a number has no known unit or origin), or an offset that lost its ``+``.
    """
    if isinstance(value, date):
        return value
    if not isinstance(value, str) or not _DATE.match(value):
        raise ValueError("must be text like 2026-11-24T10:15:00Z, or 2026-11-24 where a day is asked for")
    if len(value) > len("2026-11-24T10:15") and _LOST_PLUS.fullmatch(value):
        raise ValueError("has a space where the + of its offset was; in an address it is written %2B")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(as_written), AfterValidator(_in_utc)]
"""A point in time.

It is read with any offset, and stored and written in UTC, to the microsecond.
"""

Day = Annotated[date, BeforeValidator(as_written)]
"""A day, as text."""


def rfc3339(at: datetime) -> str:
    """Format an instant, which must be in UTC, as RFC 3339 text that ends in ``Z``."""
    return at.isoformat().replace("+00:00", "Z")


class Frozen(BaseModel):
    """A value that cannot be changed.

    Unknown fields are ignored, as a newer producer may have added them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class Payload(Frozen):
    """The data of an event or a command.

    Each concrete subclass names its CloudEvents type.
    """

    event_type: ClassVar[str]


P = TypeVar("P", bound=Payload)


class Event(Frozen, Generic[P]):
    """One event or command with its envelope.

    ``actor`` is the id of the person who acts, or the part of the system that does. A person acts as whom they are in
    the account that their command concerns; who is nobody there has no right in it by that id. ``actorvendor`` and
    ``actoraddress`` are what reporting verified about them: whether they are an operator of the vendor, and where they
    are. A command's ``id`` is its command id.
    """

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1, max_length=200)
    source: str = Field(min_length=1, max_length=200)
    type: str
    subject: str | None = None
    time: Instant
    datacontenttype: Literal["application/json"] = "application/json"
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None
    actor: str | None = None
    actorvendor: bool | None = None
    actoraddress: str | None = None
    data: P

    @classmethod
    def of(cls, data: P, *, id: str, source: str, time: datetime, **attributes: Any) -> Self:
        """Make an event of ``data``; the payload's class gives its type."""
        return cls(id=id, source=source, type=data.event_type, time=time, data=data, **attributes)

    def encode(self) -> bytes:
        """The event as structured JSON, without attributes that have no value."""
        return self.model_dump_json(exclude_none=True).encode()


@cache
def event_of(payload: type[Payload]) -> type[Event[Any]]:
    """Return ``Event[payload]``, cached.

    Pydantic discards an unused class, and making it takes milliseconds.
    """
    made: type[Event[Any]] = Event[payload]  # type: ignore[valid-type]
    return made


class UndecodableError(ValueError):
    """The bytes are not a valid event of their type. The message says where and why."""


class _Header(BaseModel):
    model_config = ConfigDict(extra="allow")
    type: str


def decode(raw: bytes, payloads: Mapping[str, type[Payload]]) -> Event[Any] | None:
    """Decode an event whose type is a key of ``payloads``; ``None`` for another type.

    Raises:
        UndecodableError: it is not JSON, has no type, or does not fit the model of its type.
    """
    try:
        payload = payloads.get(_Header.model_validate_json(raw).type)
        return None if payload is None else event_of(payload).model_validate_json(raw)
    except ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()[:5])
        raise UndecodableError(where) from error


def by_type(payloads: Iterable[type[Payload]]) -> dict[str, type[Payload]]:
    """Map the CloudEvents types of the payloads to their classes.

    Their event classes are made now, so that the first event need not wait.
    """
    named = {payload.event_type: payload for payload in payloads}
    for payload in named.values():
        event_of(payload)
    return named
