"""Consumption snapshots as their readers decode them.

Decoding is one typed msgspec call per record.

The pydantic model ``shared.events.metering.ConsumptionSnapshot`` is the contract; a test holds this to it. What this
decoder refuses may still be valid, so a reader then decodes by the contract, which also names what is wrong.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from shared.events.metering import ConsumptionSnapshot
from shared.events.state import Aggregation, Reset
from shared.units import MAX_UNITS

_Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
_Amount = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)?$")]
_Units = Annotated[int, msgspec.Meta(ge=0, le=MAX_UNITS)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=MAX_UNITS)]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Meter(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One meter's part of the consumption.

    It is ``shared.events.metering.MeterConsumption``, with amounts as plain decimal text.
    """

    meter: _Slug
    aggregation: Aggregation
    reset: Reset
    aggregate: _Amount
    units: _Positive
    block: _Positive
    rate_version: _Positive
    consumed: _Units
    peak_at: _Instant | None = None
    window_aggregate: _Amount | None = None
    window_consumed: _Units | None = None


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """What one product consumed in one window, in units. Times have an offset."""

    subscription: _Slug
    product: _Slug
    window_start: _Instant
    window_end: _Instant
    revision: _Positive
    consumed: _Units
    meters: Annotated[tuple[Meter, ...], msgspec.Meta(min_length=1)]
    as_of: _Instant

    @property
    def key(self) -> tuple[str, str, datetime]:
        """One state per subscription, product and window."""
        return self.subscription, self.product, self.window_start

    @property
    def level(self) -> int:
        """Units of the meters that start from nothing in every window."""
        return sum([meter.consumed for meter in self.meters if meter.reset == "window"])

    @property
    def burned_down(self) -> int:
        """Units of the meters that add up over the term."""
        return sum([meter.consumed for meter in self.meters if meter.reset == "term"])

    @property
    def added(self) -> int:
        """Units that this window added to the meters that add up over the term."""
        return sum([meter.window_consumed or 0 for meter in self.meters if meter.reset == "term"])


class _MeterFigures(msgspec.Struct, frozen=True, gc=False):
    reset: Reset
    consumed: _Units


class SnapshotFigures(msgspec.Struct, frozen=True, gc=False):
    """The sums of a ``Snapshot``, for readers that need nothing else of it.

    Other fields are skipped unread: decoding all of them takes twice as long.
    """

    subscription: _Slug
    product: _Slug
    window_start: _Instant
    revision: _Positive
    consumed: _Units
    meters: Annotated[tuple[_MeterFigures, ...], msgspec.Meta(min_length=1)]

    @property
    def burned_down(self) -> int:
        """Units of the meters that add up over the term."""
        return sum([meter.consumed for meter in self.meters if meter.reset == "term"])


class _Event(msgspec.Struct, gc=False):
    type: Literal["unitpool.metering.consumption.measured.v1"]
    data: Snapshot


class _EventOfFigures(msgspec.Struct, gc=False):
    type: Literal["unitpool.metering.consumption.measured.v1"]
    data: SnapshotFigures


_decoder = msgspec.json.Decoder(_Event)
_figures_decoder = msgspec.json.Decoder(_EventOfFigures)
_encoder = msgspec.json.Encoder()


def read_snapshot(value: bytes) -> Snapshot | None:
    """Decode a record's value; ``None`` if this decoder refuses it.

    Then the caller decodes it by the contract.
    """
    try:
        return _decoder.decode(value).data
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def read_figures(value: bytes) -> SnapshotFigures | None:
    """Decode the sums of a record's value; ``None`` if this decoder refuses it.

    Then the caller decodes it by the contract.
    """
    try:
        return _figures_decoder.decode(value).data
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def snapshot_of(one: ConsumptionSnapshot) -> Snapshot:
    """Convert a snapshot that was decoded by the contract."""
    meters = tuple(
        Meter(
            **{**dict(meter), "aggregate": _plain(meter.aggregate), "window_aggregate": _plain(meter.window_aggregate)}
        )
        for meter in one.meters
    )
    return Snapshot(**{**dict(one), "meters": meters})


def _plain(amount: Decimal | None) -> str | None:
    """Decimal text without an exponent."""
    return None if amount is None else f"{amount:f}"


def meters_text(one: Snapshot) -> str:
    """The meters as JSON text, as they are stored."""
    return _encoder.encode(one.meters).decode()
