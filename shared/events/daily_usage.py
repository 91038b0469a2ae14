"""Usage by day and hour as its writer encodes it and its readers decode it.

The pydantic model ``shared.events.metering.DailyUsageMeasured`` is the contract; a test holds this to it. What this
decoder refuses may still be valid, so a reader then decodes by the contract, which also names what is wrong.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal

import msgspec

from shared.events.metering import DailyUsageMeasured
from shared.events.state import Aggregation

_Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
_Amount = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)?$")]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Gap = Annotated[int, msgspec.Meta(ge=1, le=24)]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Hour(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One hour, with its amount as plain decimal text.

    It is ``shared.events.metering.UsageHour``.
    """

    hour: Annotated[int, msgspec.Meta(ge=0, le=23)]
    aggregate: _Amount
    returning: tuple[tuple[_Gap, _Count], ...] = ()


class UsageDay(msgspec.Struct, frozen=True, gc=False):
    """One meter's UTC day: ``shared.events.metering.DailyUsageMeasured``."""

    subscription: _Slug
    product: _Slug
    meter: _Slug
    day: date
    aggregation: Aggregation
    aggregate: _Amount
    revision: _Count
    as_of: _Instant
    hours: tuple[Hour, ...] = ()

    @property
    def key(self) -> str:
        """The Kafka key: one state per subscription, product, meter and day."""
        return f"{self.subscription}|{self.product}|{self.meter}|{self.day}"


class _Event(msgspec.Struct, frozen=True, gc=False):
    id: str
    subject: str
    time: datetime
    data: UsageDay
    type: Literal["unitpool.metering.daily-usage.measured.v1"] = "unitpool.metering.daily-usage.measured.v1"
    specversion: str = "1.0"
    source: str = "/metering"
    datacontenttype: str = "application/json"


class _Received(msgspec.Struct, gc=False):
    type: Literal["unitpool.metering.daily-usage.measured.v1"]
    data: UsageDay


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Received)
_hours_decoder = msgspec.json.Decoder(tuple[Hour, ...])


def encode_day(one: UsageDay, now: datetime) -> tuple[bytes, bytes]:
    """Encode the day as an event of time ``now``; return its Kafka key and value.

    The same state has the same event id, however often it is published.
    """
    key = one.key
    return key.encode(), _encoder.encode(_Event(f"{key}|{one.revision}", one.subscription, now, one))


def read_day(value: bytes) -> UsageDay | None:
    """Decode a record's value; ``None`` if this decoder refuses it.

    Then the caller decodes it by the contract.
    """
    try:
        return _decoder.decode(value).data
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def day_of(one: DailyUsageMeasured) -> UsageDay:
    """Convert a day that was decoded by the contract."""
    hours = tuple(Hour(hour.hour, f"{hour.aggregate:f}", hour.returning) for hour in one.hours)
    return UsageDay(**{**dict(one), "aggregate": f"{one.aggregate:f}", "hours": hours})


def hours_text(hours: Sequence[Hour]) -> str:
    """The hours as JSON text, as they are stored."""
    return _encoder.encode(hours).decode()


def read_hours(text: str) -> tuple[Hour, ...]:
    """Decode hours that were stored as JSON text."""
    return _hours_decoder.decode(text)
