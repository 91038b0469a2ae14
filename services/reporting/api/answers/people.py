"""People and roles of an account, and the grants of delegates."""

from datetime import datetime

from services.reporting.api.answers.shapes import WriteAnswer
from services.reporting.api.fields import AnswerBody
from shared.events.state import Grant


class GivenTo(AnswerBody):
    """A subscription, and the person's role in it.

    The role is a grant, or that they are the primary contact.
    """

    subscription: str
    role: str


class AccountPerson(WriteAnswer):
    id: str
    account: str
    email: str
    name: str
    enabled: bool
    removed_at: datetime | None
    version: int
    subscriptions: list[GivenTo]


class People(AnswerBody):
    items: list[AccountPerson]
    next_cursor: str | None


class PermissionShown(AnswerBody):
    permission: str
    category: str | None
    description: str | None


class Difference(AnswerBody):
    """The difference from the current default."""

    added: list[str]
    removed: list[str]


class Role(WriteAnswer):
    """``difference`` is null for an account's own role.

    ``based_on``: the default's version when customised.
    """

    account: str
    role: str
    product: str
    product_name: str
    name: str
    summary: str | None
    is_default: bool
    customised: bool
    based_on: int | None
    template_version: int | None
    permissions: list[PermissionShown]
    difference: Difference | None
    members: list[str]
    version: int


class Roles(AnswerBody):
    items: list[Role]
    next_cursor: str | None


class Member(AnswerBody):
    """The role has effect only for ``active`` members."""

    email: str
    name: str | None
    active: bool


class Members(AnswerBody):
    items: list[Member]
    next_cursor: str | None = None


class Granted(WriteAnswer):
    """The grants of a delegate in a subscription."""

    subscription: str
    email: str
    name: str | None
    grants: list[Grant]


class Grants(AnswerBody):
    items: list[Granted]
    next_cursor: str | None = None
