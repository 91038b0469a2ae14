"""Whether somebody is a vendor operator, by the issuer's newest word."""

from collections import OrderedDict
from dataclasses import replace
from datetime import datetime

from services.reporting.domain.caller import Caller
from services.reporting.store import issuer_words
from shared.runtime.postgres.pool import Pool

MAX_KNOWN = 10_000


class IssuerWords:
    """Judges callers by what the issuer said last of them, in whichever token or sign-in."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._noted: OrderedDict[str, datetime] = OrderedDict()
        """Who was said to be no operator, and when: each such word is noted once."""

    async def judged(self, caller: Caller) -> Caller:
        """The same person, with the role that they have now."""
        said_at = caller.said_at
        if said_at is None:
            return caller
        if caller.vendor:
            async with self._pool.acquire() as connection:
                return replace(caller, vendor=await issuer_words.is_vendor(connection, caller.email, said_at))
        if (noted := self._noted.get(caller.email)) is None or noted < said_at:
            async with self._pool.acquire() as connection:
                await issuer_words.take_back(connection, caller.email, said_at)
            self._noted[caller.email] = said_at
            self._noted.move_to_end(caller.email)
            if len(self._noted) > MAX_KNOWN:
                self._noted.popitem(last=False)
        return caller
