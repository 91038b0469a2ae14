"""Latency of usage at a steady rate: to the first snapshot, and to the alert.

It is measured on valid new events of ``sum`` meters: each changes its window, and the running sum of the published
events identifies the first snapshot that counts it. Times of snapshots and alerts are the broker's append times.
"""

import asyncio
import json
import time
from argparse import Namespace
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer

from shared.events.alerts import AlertRaised
from shared.events.topics import ALERTS_EVENTS_TOPIC, CONSUMPTION_TOPIC, USAGE
from tests.bench.figures import Figures, percentile_ms, spread
from tests.bench.loading import load_alerts, load_metering
from tests.bench.pace import WARM_BROKER_SECONDS, Pace
from tests.bench.progress import say
from tests.bench.section import Section, Servers, section, settle
from tests.bench.sending import portion_producer
from tests.bench.workload import BLOCK, KINDS, Workload, product
from tests.support.servers.databases import connect

SUMMED = frozenset(product(number) for number in range(25) if KINDS[number % len(KINDS)] == "sum")
QUIET_SECONDS = 3
WAIT_SECONDS = 120
_DUE = "SELECT count(*) FROM snapshot_due"
_DONE = "SELECT coalesce(sum(next_offset), 0)::bigint FROM consumer_offsets WHERE topic = 'usage.events'"

Key = tuple[str, str, datetime]
"""Subscription, product, start of the window."""


@dataclass(slots=True)
class Track:
    """The events of one window: sums, due times, and whether each is measured.

    The sum after each event; events of the warm-up are not measured.
    """

    sums: list[int] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    counts: list[bool] = field(default_factory=list)

    def add(self, quantity: int, due: float, *, counts: bool) -> None:
        """Add an event."""
        self.sums.append(quantity + (self.sums[-1] if self.sums else 0))
        self.due.append(due)
        self.counts.append(counts)


async def measure(servers: Servers, options: Namespace) -> Figures:
    """Measure the figures ``latency_*``."""
    pace = Pace(options.latency_rate, options.latency_seconds, WARM_BROKER_SECONDS)
    workload = Workload(pace.count, options.subscriptions, datetime.now(UTC))
    async with section(servers) as made:
        metering, alerts = await made.database("metering"), await made.database("alerts")
        await load_metering(metering, workload)
        await load_alerts(alerts, workload)
        await settle(servers, metering)
        await made.start("metering", metering)
        await made.start("alerts", alerts)
        tracks = await publish(made, workload, pace)
        await _drained(metering, pace.count)
        say("latency: reading snapshots and alerts")
        seen = snapshot_latencies(tracks, await _read(made, CONSUMPTION_TOPIC.name))
        alerted = alert_latencies(tracks, await _read(made, ALERTS_EVENTS_TOPIC.name))
    return {
        "latency_rate_events_per_second": options.latency_rate,
        "latency_seconds": options.latency_seconds,
        **spread("latency_publish_to_consumption", seen),
        "latency_publish_to_alert_p50_ms": percentile_ms(alerted, 50),
        "latency_publish_to_alert_p99_ms": percentile_ms(alerted, 99),
        "latency_events_followed": len(seen),
        "latency_alerts_followed": len(alerted),
    }


async def publish(made: Section, workload: Workload, pace: Pace) -> dict[Key, Track]:
    """Publish at the pace; return the events of ``sum`` meters by window."""
    say(f"latency: making {pace.count:,} events")
    records = list(workload.records())
    windows = {state.id: state.calendar for state in workload.states()}
    tracks: defaultdict[Key, Track] = defaultdict(Track)
    followed = _followed(records, workload.now)
    async with portion_producer(made.servers.kafka, made.prefix, USAGE.name) as producer:
        say(f"latency: {pace.rate:g} events a second for {pace.seconds:g} s")
        wall = time.time() - time.perf_counter()
        async for numbers, started in pace.portions():
            producer.send(records[numbers.start : numbers.stop])
            for number in numbers:
                if number in followed:
                    subscription, name, at, quantity = followed[number]
                    track = tracks[subscription, name, windows[subscription].window_at(at).start]
                    track.add(quantity, wall + started + number / pace.rate, counts=pace.counts(number))
    behind = time.perf_counter() - started - pace.count / pace.rate
    say(f"latency: all acknowledged {max(behind, 0) * 1000:.0f} ms after the last was due")
    return tracks


def _followed(records: list[tuple[bytes, bytes]], now: datetime) -> dict[int, tuple[Any, str, datetime, int]]:
    """Return subscription, product, time and quantity of measured events, by number."""
    found, before = {}, set()
    for number, (_, value) in enumerate(records):
        try:
            event = json.loads(value)
        except ValueError:
            continue
        data, at = event["data"], datetime.fromisoformat(event["time"])
        valid = event["id"] not in before and data["quantity"] > 0
        before.add(event["id"])
        if valid and data["product"] in SUMMED and at > now - timedelta(days=1):
            found[number] = event["subject"], data["product"], at, data["quantity"]
    return found


async def _drained(dsn: str, events: int) -> None:
    """Wait until all events are applied and published, and alerts could assess them."""
    async with asyncio.timeout(WAIT_SECONDS), connect(dsn) as connection:
        while await connection.fetchval(_DONE) < events or await connection.fetchval(_DUE):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    await asyncio.sleep(QUIET_SECONDS)


async def _read(made: Section, topic: str) -> list[tuple[dict[str, Any], float]]:
    """Read all events of a topic, each with the broker's time in seconds."""
    consumer = AIOKafkaConsumer(
        f"{made.prefix}{topic}", bootstrap_servers=made.servers.kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    found = []
    try:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(one) < end for one, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [(json.loads(one.value), one.timestamp / 1000) for one in records]
    finally:
        await consumer.stop()
    return found


def snapshot_latencies(tracks: dict[Key, Track], snapshots: list[tuple[dict[str, Any], float]]) -> list[float]:
    """Return seconds from each event's due time to the first snapshot with it.

    A snapshot's time is the broker's append time.
    """
    by_key: defaultdict[Key, list[tuple[int, float]]] = defaultdict(list)
    for event, appended in snapshots:
        data = event["data"]
        if data["product"] in SUMMED:
            key = data["subscription"], data["product"], datetime.fromisoformat(data["window_start"])
            by_key[key].append((int(data["meters"][0]["aggregate"]), appended))
    taken = []
    for key, track in tracks.items():
        counted = sorted(by_key[key])
        assert counted, f"{key}: no snapshot"
        assert counted[-1][0] == track.sums[-1], f"{key}: published {track.sums[-1]}, counted {counted[-1:]}"
        place = 0
        for total, due, counts in zip(track.sums, track.due, track.counts, strict=True):
            while counted[place][0] < total:
                place += 1
            if counts:
                taken.append(counted[place][1] - due)
    return taken


def alert_latencies(tracks: dict[Key, Track], alerts: list[tuple[dict[str, Any], float]]) -> list[float]:
    """Return seconds from the due time of crossing events to their alerts.

    An alert's time is the broker's append time.
    """
    taken = []
    for event, appended in alerts:
        alert = event["data"].get("alert")
        if event["type"] != AlertRaised.event_type or alert.get("product") not in SUMMED:  # the pool's has no product
            continue
        track = tracks.get((alert["subscription"], alert["product"], datetime.fromisoformat(alert["window_start"])))
        if track is None:
            continue
        needed = -(
            -alert["limit"] * alert["threshold"] // 100
        )  # in units, of which the last counts from its first thing
        crossing = bisect_left(track.sums, (needed - 1) * BLOCK + 1)
        if track.counts[crossing]:
            taken.append(appended - track.due[crossing])
    return taken
