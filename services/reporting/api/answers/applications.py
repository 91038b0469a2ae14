"""Applications."""

from datetime import datetime

from services.reporting.api.fields import AnswerBody


class RoleLine(AnswerBody):
    """A default role in one line."""

    role: str
    name: str
    summary: str


class ApplicationInList(AnswerBody):
    """``default_roles``: their number."""

    product: str
    name: str
    retired_at: datetime | None
    roles_version: int
    default_roles: int
    roles: list[RoleLine]


class Applications(AnswerBody):
    items: list[ApplicationInList]
    next_cursor: str | None


class Holder(AnswerBody):
    """An active person who has the permission through a role."""

    account: str
    email: str
    name: str | None
    role: str
    role_name: str


class PermissionRow(AnswerBody):
    permission: str
    category: str
    description: str
    default_roles: list[str]
    held_by: list[Holder]


class Application(ApplicationInList):
    """A product's application, with the holders of its permissions.

    ``complete``: no holder was left out by the limit; otherwise request one ``account``.
    """

    permissions: list[PermissionRow]
    complete: bool
