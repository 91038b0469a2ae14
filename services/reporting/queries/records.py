"""Records: the caller's commands, the audit log, and ingest keys."""

from dataclasses import replace
from uuid import UUID

from services.reporting.domain import permissions
from services.reporting.domain.audited_people import people_in, with_addresses
from services.reporting.domain.caller import Caller
from services.reporting.domain.command_status import CommandStatus, command_status
from services.reporting.queries.access import is_id, not_found, require_vendor
from services.reporting.queries.people_visibility import PeopleVisibility, load_people_visibility
from services.reporting.queries.shown_people import ShownPeople, load_people, show_people
from services.reporting.store import audit, commands, ingest_keys
from services.reporting.store import subscriptions as store
from services.reporting.store.paging import Page
from shared.events.metering import IngestKeyState
from shared.events.outcomes import AuditRecord
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Pool


class AuditEntry(AuditRecord):
    """A record of the audit log as the caller may see it.

    ``sequence``: its number in the log.
    """

    sequence: int


class RecordQueries:
    """Reads of ingest keys, of the audit log, and of the caller's own commands."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ingest_keys(
        self, caller: Caller, limit: int, cursor: str | None, product: str | None = None
    ) -> Page[IngestKeyState]:
        """List ingest keys, without their text."""
        require_vendor(caller, "Only the vendor sees ingest keys.")
        async with self._pool.acquire() as connection:
            page = await ingest_keys.list_ingest_keys(connection, limit, cursor, product)
            return Page(await show_people(connection, page.items, "created_by"), page.next_cursor)

    async def ingest_key(self, caller: Caller, key: str) -> IngestKeyState:
        """Find an ingest key, without its text."""
        require_vendor(caller, "Only the vendor sees ingest keys.")
        async with self._pool.acquire() as connection:
            state = await ingest_keys.find_ingest_key(connection, key) if is_id(key) else None
            if state is None:
                raise not_found("ingest key")
            (shown,) = await show_people(connection, [state], "created_by")
        return shown

    async def audit(self, caller: Caller, limit: int, cursor: str | None, wanted: audit.Filter) -> Page[AuditEntry]:
        """List the audit log, newest first, as far as the caller may see it.

        The vendor sees all. Others see records about subscriptions that they may audit, and about visible people and
        roles of those accounts.

        Raises:
            ProblemError: ``forbidden`` if the caller may audit nothing; ``not_found`` for a subscription beyond.
        """
        visibility = PeopleVisibility()
        async with self._pool.acquire() as connection:
            if not caller.vendor:
                auditing = permissions.roles_with(permissions.VIEW_AUDIT)
                mine = await store.find_ids_by_role(connection, caller.email, auditing)
                if not mine:
                    raise ProblemError.of("forbidden", "Only auditors, primary contacts and the vendor see the log.")
                if wanted.subscriptions is None:
                    accounts = await store.find_accounts_by_role(connection, caller.email, auditing)
                    visibility = await load_people_visibility(connection, caller, accounts, permissions.VIEW_AUDIT)
                    hidden = sorted(
                        f"account/{account}/person/{person}" for person, account in visibility.hidden.items()
                    )
                    wanted = replace(wanted, subscriptions=mine, accounts=accounts, hidden_objects=hidden)
                elif not set(wanted.subscriptions) <= set(mine):
                    raise not_found("subscription")
            page = await audit.list_audit(connection, limit, cursor, wanted)
            shown = await load_people(connection, {one for item in page.items for one in people_in(item.record)})
        return Page([_shown(one, shown, visibility) for one in page.items], page.next_cursor)

    async def command(self, caller: Caller, command_id: UUID) -> CommandStatus:
        """Find a command that the caller sent, with its outcome."""
        async with self._pool.acquire() as connection:
            found = await commands.find_own_command(connection, caller.email, command_id)
        if found is None:
            raise not_found("command")
        return command_status(found)


def _shown(one: audit.LoggedRecord, people: ShownPeople, visibility: PeopleVisibility) -> AuditEntry:
    record = with_addresses(one.record, people.show, frozenset(visibility.hidden))
    return AuditEntry(**dict(record), sequence=one.sequence)
