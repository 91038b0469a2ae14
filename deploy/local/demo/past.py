"""Commands of the past: allocation's own handlers, behind its own inbox, under a clock that is given with each command.

What they publish goes out through allocation's outbox, which the running service empties as ever.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from deploy.local.errors import LocalStackError
from deploy.local.patience import Patience
from deploy.local.people import DemoPerson
from services.allocation.handlers.commands import command_handlers
from services.allocation.settings import AllocationSettings
from shared.events.envelope import Event, Payload, event_of
from shared.events.outcomes import AllocationCommandDecided
from shared.events.topics import ALLOCATION_COMMANDS_TOPIC, ALLOCATION_EVENTS_TOPIC
from shared.runtime.commands.inbox import Inbox
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection, connect
from shared.runtime.records import Record
from shared.runtime.signing import SIGNATURE_HEADER, sign

_NAMESPACE = uuid.UUID("0a6c2f0b-6f0e-4c27-9c1d-5d1f5f0c8a52")
_PAUSE_SECONDS = 0.1
# What happens by itself happens under the clock of the commands while they are given; afterwards the service looks.
_NOT_YET = "UPDATE due_work SET due_at = NULL WHERE subscription = $1"
_NOW = "UPDATE due_work SET due_at = now(), marks = marks + 1 WHERE due_at IS NULL"
_OUTCOME = "SELECT outcome FROM inbox WHERE actor = $1 AND command_id = $2"


class _PutAsideError(Exception):
    """It was not decided at once."""


class Past:
    """Gives commands to allocation as of any time. The same command again changes nothing."""

    def __init__(self, connection: Connection, settings: AllocationSettings) -> None:
        self._connection = connection
        self._keys = settings.signing_keys
        self._inbox = Inbox(
            command_handlers(settings.terms, wait_seconds=0),
            decided=AllocationCommandDecided,
            events_topic=ALLOCATION_EVENTS_TOPIC,
            keys=self._keys,
        )

    async def give(self, at: datetime, actor: DemoPerson, key: str, payload: Payload) -> None:
        """Have a command decided as of ``at``, in one transaction.

        Raises:
            LocalStackError: it was refused.
        """
        identity = uuid.uuid5(_NAMESPACE, f"{actor.email} {payload.event_type} {at} {payload.model_dump_json()}")
        command: Event[Any] = event_of(type(payload)).of(
            payload,
            id=str(identity),
            source="/reporting",
            time=at,
            subject=key,
            correlationid=str(identity),
            actor=actor.email,
            actorvendor="vendor" in actor.roles,
        )
        value = command.encode()
        headers = ((SIGNATURE_HEADER, sign(value, self._keys, ALLOCATION_COMMANDS_TOPIC.name)),)
        record = Record(ALLOCATION_COMMANDS_TOPIC.name, 0, 0, key.encode(), value, headers, at)
        outcome = await self._decided(record, actor, identity, at)
        if outcome.get("refusal"):
            raise LocalStackError(f"{payload.event_type} as of {at:%Y-%m-%d}: {outcome['refusal']['message']}")

    async def _decided(self, record: Record, actor: DemoPerson, identity: uuid.UUID, at: datetime) -> dict[str, Any]:
        """The outcome. While the running service holds the subscription, this is undone and tried again: a command
        that is put aside would be decided later, and so under another clock.
        """
        patience = Patience("allocation to be free")
        while not patience.is_over():
            try:
                return await self._decide(record, actor, identity, at)
            except _PutAsideError:
                await asyncio.sleep(_PAUSE_SECONDS)
        raise LocalStackError(f"allocation was not free to take a command as of {at:%Y-%m-%d}")

    async def _decide(self, record: Record, actor: DemoPerson, identity: uuid.UUID, at: datetime) -> dict[str, Any]:
        async with self._connection.transaction():
            tx = Transaction(self._connection, at, service="allocation")
            await self._inbox(tx, [record])
            outcome = await self._connection.fetchval(_OUTCOME, actor.email, identity)
            if outcome is None:
                raise _PutAsideError
            await self._connection.execute(_NOT_YET, (record.key or b"").decode())
            await tx.flush()
        return dict(json.loads(outcome))


@asynccontextmanager
async def open_past(dsn: str, command_keys: str) -> AsyncIterator[Past]:
    """Into allocation's database."""
    settings = AllocationSettings(
        database_url=SecretStr(dsn), command_keys=SecretStr(command_keys), statement_timeout_seconds=60
    )
    connection = await connect(settings, "unitpool-demo-history")
    try:
        try:
            yield Past(connection, settings)
        finally:
            await connection.execute(_NOW)
    finally:
        await connection.close()
