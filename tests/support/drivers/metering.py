"""Drive a running metering that knows the small catalogue."""

import json
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from shared.events.envelope import Event, Payload
from shared.events.metering import METERING_EVENTS
from shared.runtime.process.clock import utc_now
from shared.runtime.signing import SIGNATURE_HEADER, parse_keys, sign
from tests.support.drivers.metering_clients import encoded, payloads, send, until
from tests.support.drivers.processes import COMMAND_KEYS, ServiceProcess
from tests.support.servers.databases import connect

KEY = "secret-of-scan"


class Metering:
    """A running metering that knows the small catalogue."""

    def __init__(self, env: dict[str, str], process: ServiceProcess, client: AIOKafkaProducer) -> None:
        self.env, self.process, self.client = env, process, client
        self.servers = env["UNITPOOL_KAFKA_BOOTSTRAP_SERVERS"]
        self.prefix = env["UNITPOOL_KAFKA_TOPIC_PREFIX"]
        self.dsn = env["UNITPOOL_METERING_DATABASE_URL"]

    async def command(self, payload: Payload, *, vendor: bool) -> None:
        """Send a signed command.

        ``vendor``: whether its actor is an operator of the vendor.
        """
        command = Event[Any].of(
            payload, id=str(uuid4()), source="/test", time=utc_now(), actor="vera@unitpool.example", actorvendor=vendor
        )
        value = command.encode()
        headers = [(SIGNATURE_HEADER, sign(value, parse_keys(COMMAND_KEYS), "metering.commands"))]
        await self.client.send_and_wait(f"{self.prefix}metering.commands", value, b"scan", headers=headers)

    async def events(self) -> list[Payload]:
        """Read all events of metering.events."""
        return await payloads(self.servers, f"{self.prefix}metering.events", METERING_EVENTS)

    async def publish(self, events: list[dict[str, Any]]) -> None:
        """Publish usage on ``usage.events``, and wait for the acknowledgement."""
        await send(self.client, f"{self.prefix}usage.events", [encoded(item) for item in events])

    async def books(self) -> dict[str, int]:
        """Return the sums of the books: accepted, applied, duplicate, quarantined."""
        async with connect(self.dsn) as connection:
            row = await connection.fetchrow(
                "SELECT coalesce(sum(accepted), 0)::int AS accepted, coalesce(sum(applied), 0)::int AS applied,"
                " coalesce(sum(duplicate), 0)::int AS duplicate, coalesce(sum(quarantined), 0)::int AS quarantined"
                " FROM book"
            )
            assert row
            return dict(row)

    async def accepted(self, count: int) -> dict[str, int]:
        """Wait until ``count`` records or more are accepted; return the books' sums."""
        return await until(self.books, lambda books: books["accepted"] >= count)

    async def drained(self) -> None:
        """Wait until no snapshot is due."""

        async def due() -> int:
            async with connect(self.dsn) as connection:
                return int(await connection.fetchval("SELECT count(*) FROM snapshot_due"))

        await until(due, lambda count: count == 0)


def usage_request(*events: dict[str, Any]) -> dict[str, Any]:
    """Build the arguments of a batch request to POST /v1/usage."""
    return {
        "content": json.dumps(events).encode(),
        "headers": {"content-type": "application/cloudevents-batch+json", "authorization": f"Bearer {KEY}"},
    }
