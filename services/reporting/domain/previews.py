"""Previews of plans, as allocation computed them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class PlannedProduct:
    """A product's allocation in a plan, and its consumption."""

    product: str
    allocated: int
    consumed: int


@dataclass(frozen=True, slots=True)
class PlanPreview:
    """Allocations before and after.

    ``starts_clock``: a rebalance; the next is allowed at ``next_allowed_at``.
    """

    before: tuple[PlannedProduct, ...]
    after: tuple[PlannedProduct, ...]
    unallocated_after: int
    starts_clock: bool
    next_allowed_at: datetime | None = None


_PREVIEW = TypeAdapter(PlanPreview)


def read_preview(result: Mapping[str, object]) -> PlanPreview:
    """Decode the preview from a command's result, which is JSON."""
    return _PREVIEW.validate_python(result)
