"""Applications."""

from datetime import datetime

from services.reporting.api.fields import Shown


class RoleLine(Shown):
    """A default role in one line."""

    role: str
    name: str
    summary: str


class ApplicationInList(Shown):
    """``default_roles``: their number."""

    product: str
    name: str
    retired_at: datetime | None
    roles_version: int
    default_roles: int
    roles: list[RoleLine]


class Applications(Shown):
    items: list[ApplicationInList]
    next_cursor: str | None


class Holder(Shown):
    """An active person who has the permission through a role."""

    account: str
    email: str
    name: str | None
    role: str
    role_name: str


class PermissionRow(Shown):
    permission: str
    category: str
    description: str
    default_roles: list[str]
    held_by: list[Holder]


class Application(ApplicationInList):
    """``complete``: no holder was left out by the limit; otherwise request one ``account``."""

    permissions: list[PermissionRow]
    complete: bool
