"""Requests about plans and policies."""

from pydantic import Field, field_validator

from services.reporting.api.fields import Request, example
from shared.events.ids import Name, ProductRef
from shared.events.state import OveragePolicy
from shared.units import Units


class NewAllocation(Request):
    """A product's new allocation.

    ``accept_overage``: allow it below consumption, if the policy permits.
    """

    model_config = example(product="exposure-scan", units=12_000)
    product: ProductRef
    units: Units
    accept_overage: bool = Field(default=False, strict=True)


class ChangeAsked(Request):
    product: ProductRef
    units: Units


class NewRebalance(Request):
    """Several changes in one step.

    ``preview``: validate and return before and after, without effect.
    """

    model_config = example(
        changes=[{"product": "exposure-scan", "units": 10_000}, {"product": "risk-hub", "units": 4_000}], preview=True
    )
    changes: list[ChangeAsked] = Field(min_length=1, max_length=1000)
    preview: bool = Field(default=False, strict=True)
    accept_overage: bool = Field(default=False, strict=True)
    override_reason: Name | None = None

    @field_validator("changes")
    @classmethod
    def _name_each_product_once(cls, changes: list[ChangeAsked]) -> list[ChangeAsked]:
        if len({change.product for change in changes}) < len(changes):
            raise ValueError("name a product more than once")
        return changes


class PolicySetting(Request):
    model_config = example(overage="hard")
    overage: OveragePolicy
