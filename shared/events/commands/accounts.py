"""Commands on accounts: customer organisations, their people and roles."""

from pydantic import Field

from shared.events.envelope import Payload
from shared.events.ids import AccountRef, Email, Name, PermissionRef, PersonRef, PlainName, ProductRef, RoleRef

Named = PersonRef | None
"""A person of the account, whom the sender named by address.

``None``: the address is nobody's.
"""


class CreateAccount(Payload):
    event_type = "unitpool.allocation.create-account.v1"
    account: AccountRef
    name: Name


class SetFlex(Payload):
    event_type = "unitpool.allocation.set-flex.v1"
    account: AccountRef
    enabled: bool
    reason: Name


class AddPerson(Payload):
    event_type = "unitpool.allocation.add-person.v1"
    account: AccountRef
    email: Email
    name: PlainName


class ChangePerson(Payload):
    """Change a person of an account; absent fields are unchanged."""

    event_type = "unitpool.allocation.change-person.v1"
    account: AccountRef
    person: Named = None
    name: PlainName | None = None
    enabled: bool | None = None


class RemovePerson(Payload):
    event_type = "unitpool.allocation.remove-person.v1"
    account: AccountRef
    person: Named = None


class CreateRole(Payload):
    """Create a custom role of the account in a product's application."""

    event_type = "unitpool.allocation.create-role.v1"
    account: AccountRef
    role: RoleRef
    product: ProductRef
    name: PlainName
    permissions: tuple[PermissionRef, ...] = Field(max_length=200)


class ChangeRole(Payload):
    """Change a role of an account; absent fields are unchanged."""

    event_type = "unitpool.allocation.change-role.v1"
    account: AccountRef
    role: RoleRef
    name: PlainName | None = None
    permissions: tuple[PermissionRef, ...] | None = Field(None, max_length=200)


class ResetRole(Payload):
    """Reset a customised default role to its template."""

    event_type = "unitpool.allocation.reset-role.v1"
    account: AccountRef
    role: RoleRef


class SetRoleMember(Payload):
    """Give a role to a person, or take it away."""

    event_type = "unitpool.allocation.set-role-member.v1"
    account: AccountRef
    role: RoleRef
    person: Named = None
    member: bool
