"""The rows of roles and permissions: those in subscriptions, then in applications."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.reporting.domain import permissions
from services.reporting.domain.permissions import PRIMARY
from services.reporting.domain.reports.columns import Row
from services.reporting.domain.reports.roles import application_rows, subscription_rows
from services.reporting.domain.roles import RoleMember, role_member, view_role
from services.reporting.queries.people_visibility import PeopleVisibility, load_people_visibility
from services.reporting.queries.report_rows import Position, ReportRequest, Step
from services.reporting.queries.report_sources.positions import read_position, write_position
from services.reporting.queries.report_sources.scope import Wanted
from services.reporting.queries.report_sources.subscription_states import Compute, SubscriptionSource
from services.reporting.store import people, products
from services.reporting.store import subscriptions as store
from services.reporting.store.role_rows import count_roles, load_roles
from shared.events.state import PersonState, RoleState, SubscriptionState
from shared.runtime.postgres.pool import Connection
from shared.runtime.postgres.row_decoding import decode_rows

_GRANTS, _ROLES = "grants", "roles"
"""What is read: roles in subscriptions, then those in applications."""
_ROWS_EACH: Final = 20
"""Rows of a role, about: its permissions times those who hold it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    accounts: Sequence[str] | None
    visibility: PeopleVisibility


class RoleSource:
    """Rows in the order of subscriptions, then of accounts and roles."""

    def __init__(self, request: ReportRequest) -> None:
        self._request = request
        self._product = Wanted.of(request).product
        self._grants = SubscriptionSource(request, _grants, lambda counts: counts.subscriptions, rows_each=_ROWS_EACH)

    async def count(self, connection: Connection) -> int:
        """Estimate the number of rows."""
        seen = await self._seen(connection)
        grants = 0 if self._product else await self._grants.count(connection)
        return _ROWS_EACH * (grants + await count_roles(connection, seen.accounts, self._product))

    async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
        """Read the roles of the next subscriptions, or the next roles of accounts."""
        kind, *place = read_position(position, _ROLES if self._product else _GRANTS, "", "")
        if kind == _GRANTS:
            step = await self._grants.read(connection, write_position(place[0]), limit)
            after = read_position(step.position)[0] if step.position else None
            following = write_position(_ROLES, "", "") if after is None else write_position(_GRANTS, after, "")
            return Step(step.rows, following)
        return await self._read_roles(connection, (place[0], place[1]), limit)

    async def _read_roles(self, connection: Connection, after: tuple[str, str], limit: int) -> Step:
        seen, size = await self._seen(connection), max(1, limit // _ROWS_EACH)
        found = await load_roles(connection, after, size, seen.accounts, self._product)
        roles = decode_rows(found, lambda row: RoleState.model_validate_json(row["state"]), "roles")
        rows = await _application_rows(connection, roles, seen.visibility)
        last = found[-1] if len(found) == size else None
        return Step(rows, write_position(_ROLES, last["account"], last["role"]) if last else None)

    async def _seen(self, connection: Connection) -> _Seen:
        """Load whose roles the caller may see."""
        caller, parameters = self._request.caller, self._request.parameters
        only, chosen = parameters.get("account"), parameters.get("subscription")
        accounts = None if only is None else [only]
        if chosen is not None:
            state = await store.find_subscription(connection, chosen)
            accounts = [] if state is None or only not in {None, state.account} else [state.account]
        if not caller.vendor:
            seeing = permissions.roles_with(permissions.VIEW_PEOPLE)
            theirs = await store.find_accounts_by_role(connection, caller.email, seeing)
            accounts = theirs if accounts is None else [one for one in accounts if one in theirs]
        return _Seen(accounts, await load_people_visibility(connection, caller, accounts or ()))


async def _application_rows(
    connection: Connection, roles: Sequence[RoleState], visibility: PeopleVisibility
) -> list[Row]:
    members = {(one.account, one.role): visibility.shown(one.members) for one in roles}
    known = await people.find_people(connection, {person for some in members.values() for person in some})
    catalogue = await products.find_products(connection, {one.product for one in roles})
    rows: list[Row] = []
    for one in roles:
        held = sorted(
            (role_member(person, known.get(person)) for person in members[one.account, one.role]),
            key=lambda member: member.email,
        )
        rows += application_rows(view_role(one, catalogue.get(one.product), ()), held)
    return rows


async def _grants(
    connection: Connection,
    _request: ReportRequest,
    states: Collection[SubscriptionState],
) -> Compute:
    """Load the people with roles in subscriptions, all of whom who sees one sees."""
    held = {one.id: _held(one) for one in states}
    known = await people.find_people(connection, {person for some in held.values() for _, person in some})
    return lambda state: subscription_rows(state, _members(held[state.id], known))


def _held(state: SubscriptionState) -> list[tuple[str, str]]:
    grants = sorted((one.grant, str(one.person)) for one in state.grants)
    return [(PRIMARY, str(state.primary_contact)), *grants]


def _members(held: Sequence[tuple[str, str]], known: Mapping[str, PersonState]) -> list[tuple[str, RoleMember]]:
    return [(role, role_member(person, known.get(person))) for role, person in held]
