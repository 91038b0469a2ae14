"""Whether a caller is a vendor operator, by the issuer's newest assertion."""

from collections import OrderedDict
from dataclasses import replace
from datetime import datetime

from services.reporting.domain.caller import Caller
from services.reporting.store import vendor_operators
from shared.runtime.postgres.pool import Pool

MAX_CACHED = 10_000


class VendorOperators:
    """Corrects callers' roles by the newest token or sign-in of the same person."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._noted: OrderedDict[str, datetime] = OrderedDict()
        """When each person was last asserted as no operator.

        It is kept so that this is written to the database once.
        """

    async def with_current_role(self, caller: Caller) -> Caller:
        """Return the caller with ``vendor`` by the issuer's newest assertion.

        It may be that of this very token.
        """
        said_at = caller.said_at
        if said_at is None:
            return caller
        if caller.vendor:
            async with self._pool.acquire() as connection:
                return replace(caller, vendor=await vendor_operators.is_vendor(connection, caller.email, said_at))
        if (noted := self._noted.get(caller.email)) is None or noted < said_at:
            async with self._pool.acquire() as connection:
                await vendor_operators.record_revocation(connection, caller.email, said_at)
            self._noted[caller.email] = said_at
            self._noted.move_to_end(caller.email)
            if len(self._noted) > MAX_CACHED:
                self._noted.popitem(last=False)
        return caller
