"""Statements: made once, and the same bytes whenever they are requested again."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from typing import Final

from services.reporting.domain.caller import Caller
from services.reporting.domain.statements import (
    MadeStatement,
    Statement,
    StatementKey,
    StatementSource,
    check_as_of,
    statement_of,
)
from services.reporting.exports.pdf.rendering import render_pdf
from services.reporting.queries.access import find_visible
from services.reporting.queries.statements import load_statement_source
from services.reporting.store import statements as store
from services.reporting.store.consistent_read import consistent_read
from shared.events.envelope import rfc3339
from shared.events.outcomes import AuditRecord
from shared.events.refusals import Refusal
from shared.events.state import PersonState, SubscriptionState
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.http.caller_limits import RateLimit
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Pool

ACTION: Final = "make-statement"
_TOO_MANY: Final = "You have made many statements. Wait a moment, then send the same request again."
_INCOMPLETE: Final = "Changes of this subscription are still being applied. Send the same request again in a minute."


class Statements:
    """Finds statements, and makes those that are not there.

    ``encode``: returns a statement as JSON; equal statements give equal bytes.
    """

    def __init__(
        self,
        pool: Pool,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        *,
        encode: Callable[[Statement], bytes],
        clock: Callable[[], datetime],
        per_minute: int,
    ) -> None:
        self._pool = pool
        self._transaction = transaction
        self._encode = encode
        self._clock = clock
        self._made = RateLimit(per_minute)

    async def find(self, caller: Caller, key: StatementKey) -> MadeStatement | None:
        """Find a statement that was made, if the caller may see the subscription.

        Raises:
            ProblemError: ``not_found``; ``forbidden``.
            AsOfError: none can be made of the instant.
        """
        async with self._pool.acquire() as connection:
            await find_visible(connection, caller, key.subscription)
            check_as_of(key.as_of, self._clock())
            return await store.find_statement(connection, key)

    async def make(self, caller: Caller, person: PersonState, key: StatementKey) -> MadeStatement:
        """Make a statement, audit and store it.

        If another process stored it first, return that one. ``person``: the caller. A PDF is made from the JSON, which
        is stored too.

        Raises:
            ProblemError: ``not_found``; ``forbidden``; ``too_many_requests``; ``unavailable``: changes of the
                subscription are not applied yet.
            AsOfError: none can be made of the instant.
            PdfError: the PDF could not be made.
        """
        self._made.check(caller.email, _TOO_MANY)
        self._made.spend(caller.email)
        as_json = replace(key, format="json")
        state, source = await self._load(caller, key)
        content = await asyncio.to_thread(lambda: self._encode(statement_of(source)))
        made = await self._store(caller, person, state, as_json, content)
        if key.format == "json":
            return made
        document = await asyncio.to_thread(render_pdf, "statement", made.content.decode(), key.as_of)
        return await self._store(caller, person, state, key, document)

    async def _load(self, caller: Caller, key: StatementKey) -> tuple[SubscriptionState, StatementSource]:
        async with consistent_read(self._pool) as connection:
            state = await find_visible(connection, caller, key.subscription)
            check_as_of(key.as_of, self._clock())
            if await store.is_set_aside(connection, key.subscription):
                raise ProblemError(Refusal(code="unavailable", message=_INCOMPLETE), headers={"Retry-After": "60"})
            return state, await load_statement_source(connection, key.subscription, key.as_of)

    async def _store(
        self, caller: Caller, person: PersonState, state: SubscriptionState, key: StatementKey, content: bytes
    ) -> MadeStatement:
        made = MadeStatement(content, hashlib.sha256(content).hexdigest())
        async with self._transaction() as tx:
            if await store.insert_statement(tx.connection, key, made, tx.now):
                await tx.audit(_record(caller, person, state, key, tx.now))
                return made
            stored = await store.find_statement(tx.connection, key)
        return stored or made


def _record(
    caller: Caller, person: PersonState, state: SubscriptionState, key: StatementKey, now: datetime
) -> AuditRecord:
    return AuditRecord(
        at=now,
        account=state.account,
        subscription=state.id,
        actor=person.id,
        address=caller.address,
        action=ACTION,
        object=f"subscription/{state.id}",
        after={"as_of": rfc3339(key.as_of), "format": key.format},
        outcome="allowed",
        correlation_id=caller.correlation_id,
    )
