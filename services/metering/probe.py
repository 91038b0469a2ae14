"""``probe``: measure the time until a published event is counted.

It publishes a known event every minute and waits for a snapshot that counts it. It measures from outside, as platforms
and readers see metering. It needs a subscription of its own, whose usage is real and costs units.
"""

import asyncio
import json
import sys
import time
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import Gauge, Histogram, start_http_server

from services.metering.settings import MeteringSettings
from shared.events.envelope import by_type, decode
from shared.events.metering import ConsumptionSnapshot
from shared.events.topics import CONSUMPTION_TOPIC, USAGE
from shared.runtime.kafka.client import client_arguments
from shared.runtime.process import logging
from shared.runtime.process.background import repeat
from shared.runtime.service.command_line import ServiceCommand

PROBE_SECONDS = Histogram(
    "unitpool_probe_seconds",
    "Seconds from publishing the probe's event until a snapshot counts it",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30),
)
LAST_SUCCESS = Gauge(
    "unitpool_probe_last_success_timestamp_seconds", "Unix time at which a probe's event was last counted"
)
_KNOWN = by_type([ConsumptionSnapshot])


class Probe:
    """The probe of one subscription."""

    def __init__(self, settings: MeteringSettings, wanted: Namespace) -> None:
        self._wanted = wanted
        self._usage = f"{settings.kafka_topic_prefix}{USAGE.name}"
        self._consumption = f"{settings.kafka_topic_prefix}{CONSUMPTION_TOPIC.name}"
        self._arguments = client_arguments(settings, "metering-probe")

    async def attempt(self) -> float:
        """Publish one event, and wait until it is counted; the seconds that it took.

        Raises:
            TimeoutError: it was not within ``within`` seconds.
            KafkaError: Kafka does not answer.
        """
        consumer = AIOKafkaConsumer(self._consumption, **self._arguments, auto_offset_reset="latest")
        producer = AIOKafkaProducer(**self._arguments, acks="all", enable_idempotence=True)
        try:
            async with asyncio.timeout(self._wanted.within):
                await consumer.start()
                await consumer.seek_to_end()  # now, not when the first record is asked for
                await producer.start()
                started = time.monotonic()
                sent = await producer.send_and_wait(self._usage, self._event(), self._wanted.subscription.encode())
                await self._until_counted(consumer, datetime.fromtimestamp(sent.timestamp / 1000, UTC))
                return time.monotonic() - started
        finally:
            await producer.stop()
            await consumer.stop()

    async def _until_counted(self, consumer: AIOKafkaConsumer, appended_at: datetime) -> None:
        prefix = f"{self._wanted.subscription}|{self._wanted.product}|".encode()
        async for record in consumer:
            if not (record.key or b"").startswith(prefix):
                continue
            event = decode(record.value or b"", _KNOWN)
            if event is not None and event.data.as_of >= appended_at:
                return

    def _event(self) -> bytes:
        data = {"product": self._wanted.product, "meter": self._wanted.meter, "quantity": 1}
        if self._wanted.resource:
            data["resource"] = self._wanted.resource
        event = {
            "specversion": "1.0",
            "id": f"probe-{uuid4()}",
            "source": f"/platforms/{self._wanted.product}",
            "type": "unitpool.platform.usage.recorded.v1",
            "subject": self._wanted.subscription,
            "time": datetime.now(UTC).isoformat(),
            "datacontenttype": "application/json",
            "data": data,
        }
        return json.dumps(event).encode()


async def probe(settings: MeteringSettings, wanted: Namespace) -> int:
    """Probe once, or periodically until stopped.

    Return exit code 0 if the event was counted in time, and 1 if it was not.
    """
    watched = Probe(settings, wanted)
    if wanted.once:
        is_counted, said = await _attempt(watched, wanted.within)
        print(f"the probe's event was {said}", file=sys.stdout if is_counted else sys.stderr)
        return 0 if is_counted else 1
    start_http_server(wanted.port, wanted.host)

    async def attempt() -> float:
        await _attempt(watched, wanted.within)
        return float(wanted.every)

    await repeat(attempt)
    return 0


async def _attempt(watched: Probe, within_seconds: float) -> tuple[bool, str]:
    """Make one attempt, measure and log it.

    Return whether the event was counted in time, and a description of that.
    """
    log = logging.get("probe")
    try:
        seconds = await watched.attempt()
    except (TimeoutError, KafkaError, OSError) as error:
        said = repr(error) if isinstance(error, KafkaError) else f"not counted within {within_seconds:g} s"
        log.warning("probe_failed", error=said)
        return False, said
    PROBE_SECONDS.observe(seconds)
    LAST_SUCCESS.set_to_current_time()
    log.info("probe_succeeded", seconds=round(seconds, 3))
    return True, f"counted after {seconds:.3f} s"


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--subscription", required=True, help="id of the subscription that was made for the probe")
    parser.add_argument("--product", required=True, help="a product that it has; its default source is used")
    parser.add_argument("--meter", required=True, help="a meter of the product")
    parser.add_argument("--resource", help="the resource, for a meter that counts resources")
    parser.add_argument("--every", type=float, default=60, help="seconds between two events (60)")
    parser.add_argument("--within", type=float, default=30, help="seconds after which an event is late (30)")
    parser.add_argument("--once", action="store_true", help="one event; exit code 1 where it is not counted in time")
    parser.add_argument("--host", default="127.0.0.1", help="address of its metrics (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8012, help="port of its metrics (8012)")


PROBE = ServiceCommand("probe", "publish a known event once a minute, and measure until it counts", probe, _arguments)
