"""Decode consumption snapshots fast: only the fields that alerts need, one decoder call per record."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from services.alerts.domain.measures import Reading
from shared.events.ids import ProductId, SubscriptionId
from shared.events.metering import ConsumptionSnapshot
from shared.units import MAX_UNITS

_Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
_Units = Annotated[int, msgspec.Meta(ge=0, le=MAX_UNITS)]


class _Meter(msgspec.Struct, gc=False):
    reset: Literal["window", "term"]
    consumed: _Units


class _Snapshot(msgspec.Struct, gc=False):
    subscription: _Slug
    product: _Slug
    window_start: Annotated[datetime, msgspec.Meta(tz=True)]
    revision: Annotated[int, msgspec.Meta(ge=1)]
    consumed: _Units
    meters: Annotated[tuple[_Meter, ...], msgspec.Meta(min_length=1)]


class _Event(msgspec.Struct, gc=False):
    type: Literal["unitpool.metering.consumption.measured.v1"]
    data: _Snapshot


_decoder = msgspec.json.Decoder(_Event)


def read_snapshot(value: bytes) -> tuple[SubscriptionId, Reading] | None:
    """Decode a snapshot to (subscription, reading); ``None`` where only the contract's own model can read it."""
    try:
        data = _decoder.decode(value).data
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    burned_down = sum([meter.consumed for meter in data.meters if meter.reset == "term"])
    product = ProductId(data.product)
    return SubscriptionId(data.subscription), Reading(
        product, data.window_start, data.revision, data.consumed, burned_down
    )


def reading_of(snapshot: ConsumptionSnapshot) -> Reading:
    """Convert a snapshot that was read by the contract's model."""
    return Reading(snapshot.product, snapshot.window_start, snapshot.revision, snapshot.consumed, snapshot.burned_down)
