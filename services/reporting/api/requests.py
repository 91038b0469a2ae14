"""What may be asked of the API."""

from typing import Annotated, Any, Literal

from pydantic import AnyUrl, ConfigDict, Field, UrlConstraints, model_validator

from services.reporting.api.fields import At, Request, Source
from shared.events.ids import AccountRef, Email, MeterRef, Name, ProductRef
from shared.events.state import Aggregation, OveragePolicy, Reset, SubscriptionModel
from shared.units import PositiveUnits, Units

WebAddress = Annotated[AnyUrl, UrlConstraints(allowed_schemes=["https", "http"], max_length=2000)]


def _example(**body: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [body]})


class NewAccount(Request):
    """Without ``id`` it is made from the name."""

    model_config = _example(id="acme", name="Acme Corporation")
    id: AccountRef | None = None
    name: Name


class FlexSetting(Request):
    model_config = _example(enabled=True, reason="Ordered with contract 4711")
    enabled: bool = Field(strict=True)
    reason: Name


class NewProduct(Request):
    """``sources`` empty: those that begin with ``/platforms/<id>``."""

    model_config = _example(id="exposure-scan", name="Exposure Scan")
    id: ProductRef
    name: Name
    sources: list[Source] = Field(default_factory=list, max_length=100)


class NewMeter(Request):
    """A meter with its first rate: ``units`` pool units per ``block`` metered things."""

    model_config = _example(id="host", name="Hosts", aggregation="unique", units=1, block=1)
    id: MeterRef
    name: Name
    aggregation: Aggregation
    reset: Reset = "window"
    units: PositiveUnits
    block: PositiveUnits
    effective_from: At | None = None


class NewRate(Request):
    model_config = _example(meter="host", units=2, block=1, effective_from="2027-01-01T00:00:00Z")
    meter: MeterRef
    units: PositiveUnits
    block: PositiveUnits
    effective_from: At | None = None


class Contact(Request):
    email: Email
    name: Name


class NewSubscription(Request):
    model_config = _example(
        account="acme",
        name="Acme Flex",
        model="flex",
        start="2026-11-01T00:00:00Z",
        end="2027-11-01T00:00:00Z",
        primary_contact={"email": "paula@acme.example", "name": "Paula Primary"},
    )
    account: AccountRef
    name: Name
    model: SubscriptionModel
    start: At
    end: At
    unit_label: Name = "Units"
    primary_contact: Contact

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> "NewSubscription":
        if self.end <= self.start:
            raise ValueError("end must be after start")
        return self


class NewPurchase(Request):
    """``start`` absent: now, or the term's start if that is later; ``end`` absent: the term's end."""

    model_config = _example(units=50_000, order_reference="PO-2026-118")
    units: PositiveUnits
    order_reference: Name
    start: At | None = None
    end: At | None = None


class NewSubscribedProduct(Request):
    model_config = _example(product="exposure-scan")
    product: ProductRef


class NewAllocation(Request):
    """The allocation that a product shall have. ``accept_overage``: also below what it consumes, where permitted."""

    model_config = _example(product="exposure-scan", units=12_000)
    product: ProductRef
    units: Units
    accept_overage: bool = Field(default=False, strict=True)


class ChangeAsked(Request):
    product: ProductRef
    units: Units


class NewRebalance(Request):
    """One step. ``preview``: the same validation, before and after, and no effect."""

    model_config = _example(
        changes=[{"product": "exposure-scan", "units": 10_000}, {"product": "risk-hub", "units": 4_000}], preview=True
    )
    changes: list[ChangeAsked] = Field(min_length=1, max_length=1000)
    preview: bool = Field(default=False, strict=True)
    accept_overage: bool = Field(default=False, strict=True)
    override_reason: Name | None = None

    @model_validator(mode="after")
    def _names_each_product_once(self) -> "NewRebalance":
        if len({change.product for change in self.changes}) < len(self.changes):
            raise ValueError("changes name a product more than once")
        return self


class PolicySetting(Request):
    model_config = _example(overage="hard")
    overage: OveragePolicy


class NewChannel(Request):
    """A webhook. Its signing secret is made here and shown in the answer, once."""

    model_config = _example(kind="webhook", url="https://hooks.acme.example/unitpool")
    kind: Literal["webhook"] = "webhook"
    url: WebAddress


class NewIngestKey(Request):
    """The key is made here and shown in the answer, once."""

    model_config = _example(product="exposure-scan")
    product: ProductRef
    expires_at: At | None = None
