"""Driver of reporting in this process: applies events, requests the API."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from pydantic import SecretStr

from services.reporting import handlers
from services.reporting.application import Application
from services.reporting.live_changes import LiveChanges
from services.reporting.main import add_api, definition, new_application, new_claim_names, new_token_verifier
from services.reporting.settings import ReportingSettings
from services.reporting.store.notifications import CHANNEL
from services.reporting.subscribers import on_audit, on_consumption, on_days, on_people
from shared.events.commands import ALERTS_COMMANDS, ALLOCATION_COMMANDS, METERING_COMMANDS
from shared.events.envelope import Event, Payload, by_type, decode
from shared.events.outcomes import (
    AlertsCommandDecided,
    AllocationCommandDecided,
    CommandDecided,
    MeteringCommandDecided,
)
from shared.events.refusals import Refusal
from shared.runtime.delivery import outbox
from shared.runtime.delivery.dispatch import Dispatch
from shared.runtime.postgres.listen import listen
from shared.runtime.postgres.pool import connect
from shared.runtime.process.clock import Clock
from shared.runtime.records import Outgoing, Record
from shared.runtime.service.definition import Runtime
from shared.runtime.signing import SIGNATURE_HEADER, parse_keys, verify
from tests.support.builders.published import NOW, VENDOR, event, outsiders
from tests.support.drivers.processes import COMMAND_KEYS
from tests.support.servers.token_issuer import Issuer

_EVERYTHING = {**handlers.ALLOCATION, **handlers.ALERTS, **handlers.METERING}
_COMMANDS = by_type([*ALLOCATION_COMMANDS, *ALERTS_COMMANDS, *METERING_COMMANDS])
DEADLINE_SECONDS = 10


@dataclass
class Sent:
    """A command as its owner receives it."""

    outgoing: Outgoing
    command: Event[Any]


class ReportingDriver:
    """Drives one replica."""

    def __init__(self, runtime: Runtime[ReportingSettings], application: Application, issuer: Issuer) -> None:
        self.runtime = runtime
        self.application = application
        self.issuer = issuer
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=runtime.app, raise_app_exceptions=False), base_url="http://test"
        )

    async def apply(self, *payloads: Payload | Event[Any]) -> None:
        """Apply events in one transaction, as the consumers do."""
        dispatch, all_of_them = Dispatch(_EVERYTHING), records(payloads)
        async with self.runtime.transaction() as tx:
            await dispatch(tx, all_of_them)
            await on_people(tx, all_of_them)
            await on_audit(tx, all_of_them)

    async def read_people(self, *records: Record) -> None:
        """Apply records of the topic of people as one batch."""
        async with self.runtime.transaction() as tx:
            await on_people(tx, records)

    async def measure(self, *snapshots: Payload) -> None:
        """Apply snapshots as one batch."""
        async with self.runtime.transaction() as tx:
            await on_consumption(tx, [record(one) for one in snapshots])

    async def measure_days(self, *days: Payload) -> None:
        """Apply usage by day as one batch."""
        async with self.runtime.transaction() as tx:
            await on_days(tx, [record(one) for one in days])

    async def ask(self, method: str, path: str, who: str = VENDOR, **arguments: Any) -> httpx.Response:
        """Send a request with the token of a person."""
        token = self.issuer.token(who, vendor=who == VENDOR)
        headers = {"authorization": f"Bearer {token}", **arguments.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **arguments)

    async def get(self, path: str, who: str = VENDOR) -> Any:
        """Return the body of a successful GET."""
        answer = await self.ask("GET", path, who)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def sent(self, count: int = 1) -> list[Sent]:
        """Wait for this number of commands in the outbox, and verify them."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                async with self.runtime.pool.acquire() as connection:
                    rows = await outbox.load(connection, 100)
                if len(rows) >= count:
                    break
                await asyncio.sleep(0.01)
        found = []
        for _, outgoing in rows:
            assert outgoing.value is not None
            verify(outgoing.value, dict(outgoing.headers)[SIGNATURE_HEADER], parse_keys(COMMAND_KEYS), outgoing.topic)
            command = decode(outgoing.value, _COMMANDS)
            assert command is not None
            found.append(Sent(outgoing, command))
        return found

    async def decide(self, command: Event[Any], *state: Payload, refusal: Refusal | None = None, **more: Any) -> None:
        """Apply the owner's state events, then the outcome."""
        outcome = outcome_type(command.type)(
            command_id=UUID(command.id),
            command=command.type,
            actor=command.actor or "",
            decided_at=NOW,
            refusal=refusal,
            **more,
        )
        await self.apply(*state, outcome)


def outcome_type(command: str) -> type[CommandDecided]:
    """Return the outcome event of the service that decides the command."""
    of = {"alerts": AlertsCommandDecided, "metering": MeteringCommandDecided, "allocation": AllocationCommandDecided}
    return of[command.split(".")[1]]


def record(one: Payload | Event[Any]) -> Record:
    """Build the Kafka record of an event."""
    wrapped = one if isinstance(one, Event) else event(one)
    return Record("topic", 0, 0, b"key", wrapped.encode(), (), NOW)


def records(payloads: Sequence[Payload | Event[Any]]) -> list[Record]:
    """Build the Kafka records of events."""
    return [record(one) for one in payloads]


@asynccontextmanager
async def reporting(
    dsn: str, issuer: Issuer, now: datetime = NOW, *, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[ReportingDriver]:
    """Start a replica that consumes what ``ReportingDriver.apply`` passes.

    It listens and answers. The people without an account are known to it. ``clock``: one that moves, instead of
    ``now``.
    """
    chosen = ReportingSettings(
        database_url=SecretStr(dsn),
        command_keys=SecretStr(COMMAND_KEYS),
        oidc_issuer=issuer.url,
        **{"command_wait_seconds": 3, "issuer_refresh_seconds": 0, "pool_min_size": 1, **settings},
    )
    runtime = Runtime(definition(), chosen, clock=clock or (lambda: now))
    await runtime.pool
    live = LiveChanges()
    application = new_application(runtime, live)
    add_api(runtime, application, new_token_verifier(chosen, new_claim_names(chosen), runtime.database_clock))
    listens = asyncio.Event()

    def begun() -> None:
        live.recheck_all()
        listens.set()

    listening = asyncio.create_task(listen(lambda: connect(chosen, "test"), CHANNEL, live.apply_notification, begun))
    await asyncio.wait_for(listens.wait(), DEADLINE_SECONDS)
    driver = ReportingDriver(runtime, application, issuer)
    await driver.apply(*outsiders())
    try:
        yield driver
    finally:
        await driver.http.aclose()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await runtime.pool.close()
