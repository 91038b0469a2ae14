"""What a plan would do, as the service that decides on plans worked it out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class PlannedProduct:
    """A product's allocation in a plan, and what it consumes."""

    product: str
    allocated: int
    consumed: int


@dataclass(frozen=True, slots=True)
class PlanPreview:
    """Before and after. ``starts_clock``: it is a rebalance; the next is allowed at ``next_allowed_at``."""

    before: tuple[PlannedProduct, ...]
    after: tuple[PlannedProduct, ...]
    unallocated_after: int
    starts_clock: bool
    next_allowed_at: datetime | None = None


_PREVIEW = TypeAdapter(PlanPreview)


def read_preview(result: Mapping[str, object]) -> PlanPreview:
    """The preview in a command's result, which is JSON."""
    return _PREVIEW.validate_python(result)
