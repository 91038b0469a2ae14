"""States and measurements of the past, with when they were recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.events.metering import MeterConsumption
from shared.events.state import ProductState, SubscriptionState


@dataclass(frozen=True, slots=True)
class RecordedSubscription:
    """A state of a subscription."""

    state: SubscriptionState
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class RecordedProduct:
    """A state of a product."""

    state: ProductState
    recorded_at: datetime


class RecordedWindow(Protocol):
    """A revision of what one product consumed in one window."""

    @property
    def product(self) -> str: ...
    @property
    def window_start(self) -> datetime: ...
    @property
    def window_end(self) -> datetime: ...
    @property
    def revision(self) -> int: ...
    @property
    def level(self) -> int: ...
    @property
    def burned_down(self) -> int: ...
    @property
    def as_of(self) -> datetime: ...
    @property
    def meters(self) -> Sequence[MeterConsumption]: ...
    @property
    def recorded_at(self) -> datetime: ...
