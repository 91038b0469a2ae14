"""Plans, and the history of allocations."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict

from services.reporting.api.answers.shapes import WriteAnswer
from services.reporting.api.fields import AnswerBody


class Share(AnswerBody):
    product: str
    allocated: int
    consumed: int


class Preview(WriteAnswer):
    model_config = ConfigDict(extra="allow")
    preview: Literal[True] = True
    allowed: bool = True
    before: list[Share]
    after: list[Share]
    unallocated_after: int
    starts_clock: bool
    next_allowed_at: datetime | None


class PreviewResult(AnswerBody):
    """The members of ``Preview``, passed through as allocation computed them."""

    model_config = ConfigDict(extra="allow")


class AllocationChange(AnswerBody):
    product: str
    before: int
    after: int
    at: datetime
    actor: str | None
    kind: Literal["allocation", "rebalance", "unsubscribed", "retired"]
    reason: str | None
    starts_clock: bool
    version: int


class AllocationChanges(AnswerBody):
    items: list[AllocationChange]
    next_cursor: str | None
