"""Requests about quarantined usage."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from services.reporting.api.fields import At, Request, Source, example
from shared.events.quarantine import QuarantineReason, QuarantineWanted

RecordId = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,17}$")]
Short = Annotated[Source, StringConstraints(max_length=64)]


class ReplayFilter(Request):
    """Records that match all of these.

    ``from`` and ``to`` refer to the record's arrival.
    """

    reason: QuarantineReason | None = None
    source: Source | None = None
    product: Short | None = None
    subscription: Source | None = None
    start: At | None = Field(None, alias="from")
    end: At | None = Field(None, alias="to")

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("must not be empty; use all for everything")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("to must be after from")
        return self


class NewReplay(Request):
    """The records to replay: the ``id`` of one, a ``filter``, or ``all``."""

    model_config = example(filter={"reason": "product_not_subscribed", "product": "exposure-scan"})
    id: RecordId | None = None
    filter: ReplayFilter | None = None
    all: bool = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.id is not None) + (self.filter is not None) + self.all != 1:
            raise ValueError("give one of: id, filter, all")
        return self

    def wanted(self) -> QuarantineWanted:
        """Convert to the command's form."""
        if self.filter is None:
            return QuarantineWanted(id=self.id)
        return QuarantineWanted(**self.filter.model_dump())
