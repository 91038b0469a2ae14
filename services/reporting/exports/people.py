"""Who requested an export, with what they are now."""

from services.reporting.domain.caller import Caller
from services.reporting.domain.exports import Export
from services.reporting.store.exports import is_revoked_operator
from services.reporting.store.people import find_people
from shared.runtime.postgres.pool import Connection


async def present_caller(connection: Connection, export: Export) -> Caller | None:
    """Return who requested an export, with what they are now; ``None``: they are gone.

    An operator of the vendor is one until the issuer asserts that they are not.
    """
    state = (await find_people(connection, [export.requested_by])).get(export.requested_by)
    if state is None or state.removed_at is not None:
        return None
    is_vendor = export.is_vendor and not await is_revoked_operator(connection, state.email)
    return Caller(state.email, state.name, vendor=is_vendor)
