"""Access to reads.

What the caller may not see is answered like what does not exist.
"""

import re
from collections.abc import Collection

from services.reporting.domain import permissions
from services.reporting.domain.caller import Caller
from services.reporting.store import accounts
from services.reporting.store import subscriptions as store
from shared.events.state import AccountState, SubscriptionState
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Connection

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_ROLE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


def not_found(what: str) -> ProblemError:
    """Build the problem for what does not exist or is invisible to the caller."""
    return ProblemError.of("not_found", f"There is no such {what}.")


def is_id(text: str) -> bool:
    """Whether the text has the form of an id."""
    return _ID.fullmatch(text) is not None


def is_role_id(text: str) -> bool:
    """Whether the text has the form of a role's id."""
    return _ROLE_ID.fullmatch(text) is not None


def require_vendor(caller: Caller, message: str) -> None:
    """Check that the caller is a vendor operator.

    Raises:
        ProblemError: ``forbidden`` with ``message``.
    """
    if not caller.vendor:
        raise ProblemError.of("forbidden", message)


async def find_visible(
    connection: Connection, caller: Caller, subscription: str, permission: str = permissions.VIEW
) -> SubscriptionState:
    """Find a subscription on which the caller has the permission.

    Raises:
        ProblemError: ``not_found``; ``forbidden``.
    """
    found = await store.find_with_roles(connection, subscription, caller.email) if is_id(subscription) else None
    if found is None:
        raise not_found("subscription")
    state, roles = found
    check_roles(caller, roles, permission)
    return state


def check_roles(caller: Caller, roles: Collection[str], permission: str = permissions.VIEW) -> tuple[str, ...]:
    """Check that a caller with these roles in a subscription has the permission.

    Return their roles, strongest first, with ``vendor`` for vendor operators.

    Raises:
        ProblemError: ``not_found``; ``forbidden``.
    """
    held = permissions.sort_roles(caller, roles)
    if not held:
        raise not_found("subscription")
    _require(permission, held, "Your role in this subscription does not show this.")
    return held


async def find_visible_account(
    connection: Connection, caller: Caller, account: str, permission: str | None = None
) -> AccountState:
    """Find an account that the caller belongs to, or any for the vendor.

    With ``permission``, the caller must have it in one of the account's subscriptions.

    Raises:
        ProblemError: ``not_found``; ``forbidden``.
    """
    state = await accounts.find_account(connection, account) if is_id(account) else None
    roles = permissions.sort_roles(caller, await store.find_roles_in_account(connection, caller.email, account))
    if state is None or not roles:
        raise not_found("account")
    if permission is not None:
        _require(permission, roles, "Your role in this account does not show this.")
    return state


def _require(permission: str, roles: tuple[str, ...], message: str) -> None:
    if permission not in permissions.permissions_of(roles):
        raise ProblemError.of("forbidden", message)
