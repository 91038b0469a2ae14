"""Commands on accounts: customer organisations, their people and roles."""

from pydantic import Field

from shared.events.envelope import Payload
from shared.events.ids import (
    AccountRef,
    Email,
    Name,
    PermissionRef,
    PersonRef,
    PlainName,
    ProductRef,
    RoleRef,
    WrittenText,
)

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
    reason: WrittenText


class IntroducePerson(Payload):
    """Make a person of somebody who acts without belonging to the account concerned.

    Reporting sends it, before the first command of a vendor operator or of a stranger. The outcome's ``resource`` is
    their id, also if they were introduced before.
    """

    event_type = "unitpool.allocation.introduce-person.v1"
    email: Email
    name: Name


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
    email: Email | None = None
    name: PlainName | None = None
    enabled: bool | None = None


class RemovePerson(Payload):
    event_type = "unitpool.allocation.remove-person.v1"
    account: AccountRef
    person: Named = None


class ErasePerson(Payload):
    """Erase a person: their address, their name, and what they wrote.

    It is carried out at a due time, which allocation sets. With ``preview`` the effect is returned and nothing changes.
    """

    event_type = "unitpool.allocation.erase-person.v1"
    account: AccountRef | None = None
    person: PersonRef
    reason: WrittenText
    preview: bool = False


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
