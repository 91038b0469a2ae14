"""Commands decided as of a time in the past.

Allocation's own inbox and handlers decide them.

Their events are published by the running service, whose relay sends what is in allocation's outbox.
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
from deploy.local.people import DemoPerson
from deploy.local.wait import Wait
from services.allocation.handlers.commands import command_handlers
from services.allocation.settings import AllocationSettings
from shared.events.commands.accounts import IntroducePerson
from shared.events.envelope import Event, Payload, event_of
from shared.events.outcomes import SYSTEM, AllocationCommandDecided
from shared.events.topics import ALLOCATION_COMMANDS_TOPIC, ALLOCATION_EVENTS_TOPIC
from shared.runtime.commands.inbox import Inbox
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection, connect
from shared.runtime.records import Record
from shared.runtime.sealed_text import seal_written
from shared.runtime.signing import SIGNATURE_HEADER, sign

_NAMESPACE = uuid.UUID("0a6c2f0b-6f0e-4c27-9c1d-5d1f5f0c8a52")
_PAUSE_SECONDS = 0.1
# The running service must not bring a subscription up to date while its past commands are decided, as it would use the
# present time. So its due work has no time until all are decided, and is due at once afterwards.
_SUSPEND_DUE_WORK = "UPDATE due_work SET due_at = NULL WHERE subscription = $1"
_RESUME_DUE_WORK = "UPDATE due_work SET due_at = now(), marks = marks + 1 WHERE due_at IS NULL"
_ACTOR = """
SELECT id, text_key FROM people
WHERE email = $1 AND (account IS NULL OR account IN (SELECT account FROM subscriptions WHERE id = $2 UNION SELECT $2))
ORDER BY account IS NULL LIMIT 1
"""
_OUTCOME = "SELECT outcome FROM inbox WHERE actor = $1 AND command_id = $2"


class _PostponedError(Exception):
    """The command was not decided at once."""


class BackdatedCommands:
    """Decides commands as of any time; a repeated command changes nothing."""

    def __init__(self, connection: Connection, settings: AllocationSettings) -> None:
        self._connection = connection
        self._keys = settings.signing_keys
        self._inbox = Inbox(
            command_handlers(settings.terms, wait_seconds=0),
            decided=AllocationCommandDecided,
            events_topic=ALLOCATION_EVENTS_TOPIC,
            keys=self._keys,
        )

    async def decide(self, at: datetime, actor: DemoPerson, key: str, payload: Payload) -> None:
        """Decide a command as of ``at``, in one transaction.

        Raises:
            LocalStackError: the command was refused.
        """
        person = await self._connection.fetchrow(_ACTOR, actor.email, key)
        if person is None:
            await self._send(at, SYSTEM, key, IntroducePerson(email=actor.email, name=actor.name))
            person = await self._connection.fetchrow(_ACTOR, actor.email, key)
        assert person is not None  # noqa: S101  # they have just been introduced
        sealed = seal_written(payload, person["id"], person["text_key"])
        identity = f"{actor.email} {payload.event_type} {at} {payload.model_dump_json()}"
        vendor = "vendor" in actor.roles
        await self._send(at, person["id"], key, sealed, identity=identity, vendor=vendor)

    async def _send(
        self, at: datetime, actor: str, key: str, payload: Payload, *, identity: str = "", vendor: bool = False
    ) -> None:
        id = uuid.uuid5(_NAMESPACE, identity or payload.model_dump_json())  # noqa: A001
        command: Event[Any] = event_of(type(payload)).of(
            payload,
            id=str(id),
            source="/reporting",
            time=at,
            subject=key,
            correlationid=str(id),
            actor=actor,
            actorvendor=vendor,
        )
        value = command.encode()
        headers = ((SIGNATURE_HEADER, sign(value, self._keys, ALLOCATION_COMMANDS_TOPIC.name)),)
        record = Record(ALLOCATION_COMMANDS_TOPIC.name, 0, 0, key.encode(), value, headers, at)
        outcome = await self._outcome_of(record, actor, id, at)
        if outcome.get("refusal"):
            raise LocalStackError(f"{payload.event_type} as of {at:%Y-%m-%d}: {outcome['refusal']['message']}")

    async def _outcome_of(self, record: Record, actor: str, identity: uuid.UUID, at: datetime) -> dict[str, Any]:
        """Decide the command, and return the outcome.

        It is decided again while its subscription is locked; the running service takes such locks. A postponed command
        would be decided later, at another time, so the transaction is rolled back instead.
        """
        wait = Wait("the subscription to be unlocked")
        while not wait.is_over():
            try:
                return await self._decide(record, actor, identity, at)
            except _PostponedError:
                await asyncio.sleep(_PAUSE_SECONDS)
        raise LocalStackError(f"A command as of {at:%Y-%m-%d} was not decided: its subscription stayed locked.")

    async def _decide(self, record: Record, actor: str, identity: uuid.UUID, at: datetime) -> dict[str, Any]:
        async with self._connection.transaction():
            tx = Transaction(self._connection, at, service="allocation")
            await self._inbox(tx, [record])
            outcome = await self._connection.fetchval(_OUTCOME, actor, identity)
            if outcome is None:
                raise _PostponedError
            await self._connection.execute(_SUSPEND_DUE_WORK, (record.key or b"").decode())
            await tx.flush()
        return dict(json.loads(outcome))


@asynccontextmanager
async def open_backdated_commands(dsn: str, command_keys: str) -> AsyncIterator[BackdatedCommands]:
    """Open a connection to allocation's database for past commands.

    The due work of their subscriptions is suspended until the end.
    """
    settings = AllocationSettings(
        database_url=SecretStr(dsn), command_keys=SecretStr(command_keys), statement_timeout_seconds=60
    )
    connection = await connect(settings, "unitpool-demo-history")
    try:
        try:
            yield BackdatedCommands(connection, settings)
        finally:
            await connection.execute(_RESUME_DUE_WORK)
    finally:
        await connection.close()
