"""Sender of usage events: to Kafka, and to metering's HTTP ingest."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice

import httpx
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from deploy.local import secret
from deploy.local.commands import new_ingest_key
from deploy.local.demo.usage import UsageEvent
from deploy.local.environment import kafka_address
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout
from deploy.local.wait import Wait
from shared.events.topics import USAGE

HTTP_PRODUCT = "web-app-test"
"""The product whose platform reports over HTTP; the others report to Kafka."""
HTTP_BATCH = 500
KAFKA_BATCH = 2_000
_STOP_SECONDS = 5


class UsageSender:
    """A sender that retries until the events are accepted; repeated events count once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{layout.ports.metering}", timeout=30)
        self._kafka: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def stop(self) -> None:
        """Send the buffered events, and disconnect."""
        await self._http.aclose()
        await self._disconnect(self._kafka)

    async def report(self, reported: Iterable[UsageEvent], note: Callable[[int], None] = lambda _: None) -> int:
        """Send events to Kafka in order and wait until all are acknowledged.

        Returns their number. ``note`` is called with the number sent so far.
        """
        count, source = 0, iter(reported)
        while batch := list(islice(source, KAFKA_BATCH)):
            await self._send(batch)
            note(count := count + len(batch))
        return count

    async def _send(self, batch: Sequence[UsageEvent]) -> None:
        wait = Wait("Kafka to accept usage")
        while True:
            kafka = None
            try:
                kafka = await self._connected()
                futures = [await kafka.send(USAGE.name, one.value, one.key.encode()) for one in batch]
                failed = [one for one in await asyncio.gather(*futures, return_exceptions=True) if _is_error(one)]
            except (KafkaError, OSError) as error:
                failed = [error]
            if not failed:
                return
            await self._disconnect(kafka)  # an idempotent producer cannot go on after a failed batch
            if wait.is_over(repr(failed[0])):
                raise LocalStackError(f"Kafka does not accept usage: {failed[0]!r}")
            await asyncio.sleep(1)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._kafka is None:
                kafka = AIOKafkaProducer(
                    bootstrap_servers=kafka_address(self._layout),
                    enable_idempotence=True,
                    linger_ms=20,
                    max_batch_size=131_072,
                )
                try:
                    await kafka.start()
                except BaseException:
                    await kafka.stop()
                    raise
                self._kafka = kafka
            return self._kafka

    async def _disconnect(self, kafka: AIOKafkaProducer | None) -> None:
        if self._kafka is kafka:
            self._kafka = None
        if kafka is not None:
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await kafka.stop()

    async def report_over_http(self, product: str, reported: Sequence[UsageEvent]) -> int:
        """Post events in batches, with an ingest key of the product; return their number."""
        for first in range(0, len(reported), HTTP_BATCH):
            batch = [json.loads(one.value) for one in reported[first : first + HTTP_BATCH]]
            await self._post(product, batch)
        return len(reported)

    async def _post(self, product: str, batch: list[object]) -> None:
        headers = {
            "Authorization": f"Bearer {await self._key(product)}",
            "Content-Type": "application/cloudevents-batch+json",
        }
        content = json.dumps(batch).encode()
        last, wait = "", Wait("metering to accept usage over HTTP")
        while not wait.is_over(last):
            try:
                answer = await self._http.post("/v1/usage", content=content, headers=headers)
                if answer.is_success:
                    return
                last = f"{answer.status_code} {answer.text[:200]}"
            except httpx.TransportError as error:
                last = repr(error)
            await asyncio.sleep(1)  # metering is restarting or busy, or has not read the new key yet
        raise LocalStackError(f"metering does not accept usage over HTTP: {last}")

    async def _key(self, product: str) -> str:
        """The product's ingest key; created at the first call and stored in a file."""
        path = self._layout.secrets / f"ingest-{product}.key"
        if not path.exists():
            secret.write_private(path, await asyncio.to_thread(new_ingest_key, self._layout, product))
        return path.read_text()


def _is_error(outcome: object) -> bool:
    return isinstance(outcome, BaseException)


def in_order(reported: Iterable[UsageEvent]) -> list[UsageEvent]:
    """Sort events by their time."""
    return sorted(reported, key=_time)


def _time(one: UsageEvent) -> datetime:
    return one.at
