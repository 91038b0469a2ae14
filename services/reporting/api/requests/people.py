"""Requests about people and roles of an account."""

from pydantic import Field, model_validator

from services.reporting.api.fields import NewEmail, Request, example
from shared.events.ids import Email, PermissionRef, PlainName, ProductRef, RoleRef


class NewPerson(Request):
    model_config = example(email="victor@acme.example", name="Victor View")
    email: NewEmail
    name: PlainName


class PersonChange(Request):
    """Changes of a person; absent fields stay.

    A disabled person keeps their grants without effect.
    """

    model_config = example(enabled=False)
    email: NewEmail | None = None
    name: PlainName | None = None
    enabled: bool | None = Field(default=None, strict=True)

    @model_validator(mode="after")
    def _changes_something(self) -> "PersonChange":
        if self.email is None and self.name is None and self.enabled is None:
            raise ValueError("email, name or enabled must be there")
        return self


class NewRole(Request):
    """A role of the account's own.

    Without ``role``, its id is derived from the product and the name.
    """

    model_config = example(product="exposure-scan", name="Night Shift", permissions=["page.use"])
    role: RoleRef | None = None
    product: ProductRef
    name: PlainName
    permissions: list[PermissionRef] = Field(max_length=200)


class RoleChange(Request):
    """Changes of a role; absent fields stay. ``permissions`` replaces all of them."""

    model_config = example(permissions=["page.use"])
    name: PlainName | None = None
    permissions: list[PermissionRef] | None = Field(default=None, max_length=200)

    @model_validator(mode="after")
    def _changes_something(self) -> "RoleChange":
        if self.name is None and self.permissions is None:
            raise ValueError("name or permissions must be there")
        return self


class NewMember(Request):
    """A person known in the account."""

    model_config = example(email="victor@acme.example")
    email: Email
