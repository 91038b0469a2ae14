"""Requests about subscriptions."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from services.reporting.api.fields import At, NewEmail, Request, example
from shared.events.ids import AccountRef, Email, Name, PlainName, ProductRef
from shared.events.state import Grant, SubscriptionModel
from shared.units import PositiveUnits


def after_start(end: At, info: ValidationInfo) -> At:
    """Check that the end is after the start of the same request.

    Raises:
        ValueError: it is not.
    """
    start = info.data.get("start")
    if start is not None and end <= start:
        raise ValueError("must be after start")
    return end


class Contact(Request):
    email: NewEmail
    name: PlainName


class NewSubscription(Request):
    model_config = example(
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
    lock_rates: bool = Field(default=False, strict=True)

    @field_validator("end")
    @classmethod
    def _ends_after_its_start(cls, end: At, info: ValidationInfo) -> At:
        return after_start(end, info)


class NewPurchase(Request):
    """A purchase of units.

    ``start`` defaults to now, or to the term's start if that is later. ``end`` defaults to the term's end.
    """

    model_config = example(units=50_000, order_reference="PO-2026-118")
    units: PositiveUnits
    order_reference: Name
    start: At | None = None
    end: At | None = None

    @field_validator("end")
    @classmethod
    def _ends_after_its_start(cls, end: At | None, info: ValidationInfo) -> At | None:
        return end if end is None else after_start(end, info)


class NewSubscribedProduct(Request):
    model_config = example(product="exposure-scan")
    product: ProductRef


class Voiding(Request):
    model_config = example(reason="Entered twice")
    reason: Name


class Cancellation(Request):
    model_config = example(reason="The contract ended early")
    reason: Name


class Renewal(Request):
    """A further term until ``end``, after the last one or from a later ``start``.

    ``units`` and ``order_reference`` are for flexible subscriptions only.
    """

    model_config = example(end="2028-11-01T00:00:00Z", units=60_000, order_reference="PO-2027-004")
    start: At | None = None
    end: At
    units: PositiveUnits | None = None
    order_reference: Name | None = None
    lock_rates: bool = Field(default=False, strict=True)


class Conversion(Request):
    model_config = example(model="flex")
    model: Literal["flex"]


class RateLockSetting(Request):
    """``locked``: lock the rates in force now until the term's end."""

    model_config = example(locked=True)
    locked: bool = Field(strict=True)


class PrimaryContactSetting(Request):
    """The new primary contact, a person known in the account."""

    model_config = example(email="paul@acme.example")
    email: Email


class GrantsSetting(Request):
    """All grants of a person; an empty list revokes all."""

    model_config = example(grants=["viewer"])
    grants: list[Grant] = Field(max_length=4)

    @field_validator("grants")
    @classmethod
    def _name_each_once(cls, grants: list[Grant]) -> list[Grant]:
        if len(set(grants)) < len(grants):
            raise ValueError("name a grant more than once")
        return grants
