"""Latency of commands at a steady rate: from the signed command to its outcome."""

import asyncio
import json
import random
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from shared.events.commands.plans import ApplyPlan, PlannedChange, SeenConsumption
from shared.events.envelope import Event
from shared.events.outcomes import AllocationCommandDecided
from shared.events.state import SubscriptionState
from shared.events.topics import ALERTS_COMMANDS_TOPIC, ALERTS_EVENTS_TOPIC, ALLOCATION_COMMANDS_TOPIC
from shared.events.topics import ALLOCATION_EVENTS_TOPIC as EVENTS_TOPIC
from shared.runtime.signing import SIGNATURE_HEADER, parse_keys, sign
from tests.bench.figures import Figures, spread
from tests.bench.loading import load_allocation
from tests.bench.pace import WARM_BROKER_SECONDS, Pace
from tests.bench.progress import say
from tests.bench.section import Section, Servers, section, settle
from tests.bench.workload import ALLOCATED, Workload
from tests.support.drivers.processes import COMMAND_KEYS

RATE = 200
SUBSCRIPTIONS = 2_000
WAIT_SECONDS = 60
_OUTCOME = AllocationCommandDecided.event_type.encode()

Named = Callable[[bytes], str | None]
"""Pattern of the command's id in the record of an outcome."""


@dataclass(frozen=True, slots=True)
class PreparedCommand:
    """A command as a Kafka record."""

    id: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


async def measure(servers: Servers, options: Namespace) -> Figures:
    """Measure the figures ``command_*``."""
    workload = Workload(0, SUBSCRIPTIONS, datetime.now(UTC))
    pace = Pace(options.command_rate, options.seconds, WARM_BROKER_SECONDS)
    async with section(servers) as made:
        prepared = plans(workload, pace.count)
        say("commands: their ceiling, an empty handler")
        source, target = made.topic(ALERTS_COMMANDS_TOPIC), made.topic(ALERTS_EVENTS_TOPIC)
        bare = await made.start_bare(source=source, target=target)
        ceiling = await round_trips(made, prepared, pace, (source, target), lambda value: str(json.loads(value)["id"]))
        bare.kill()
        dsn = await made.database("allocation")
        await load_allocation(dsn, workload)
        await settle(servers, dsn)
        await made.start("allocation", dsn)
        say(f"commands: {pace.rate:g} a second for {pace.seconds:g} s")
        topics = made.topic(ALLOCATION_COMMANDS_TOPIC), made.topic(EVENTS_TOPIC)
        taken = await round_trips(made, prepared, pace, topics, accepted)
    return {
        "command_rate_per_second": options.command_rate,
        "command_subscriptions": SUBSCRIPTIONS,
        **spread("command", taken),
        **spread("command_ceiling", ceiling),
    }


def plans(workload: Workload, count: int) -> list[PreparedCommand]:
    """Make plans of random subscriptions that raise one product by one unit.

    They are signed as reporting sends them.
    """
    rng, keys = random.Random(workload.seed), parse_keys(COMMAND_KEYS)
    states = list(workload.states())
    given: dict[tuple[str, str], int] = {}
    prepared = []
    for _ in range(count):
        state = rng.choice(states)
        product = rng.choice(state.products).product
        units = given[state.id, product] = given.get((state.id, product), ALLOCATED) + 1
        payload = ApplyPlan(
            subscription=state.id,
            changes=(PlannedChange(product=product, units=units),),
            seen=(SeenConsumption(product=product, window_start=_window(state, workload.now), revision=1),),
        )
        command = _command(payload, state, str(UUID(int=rng.getrandbits(128), version=4)), workload.now)
        value = command.encode()
        prepared.append(
            PreparedCommand(
                command.id,
                state.id.encode(),
                value,
                [(SIGNATURE_HEADER, sign(value, keys, ALLOCATION_COMMANDS_TOPIC.name))],
            )
        )
    return prepared


def _window(state: SubscriptionState, now: datetime) -> datetime:
    return state.calendar.window_at(now).start


def _command(payload: ApplyPlan, state: SubscriptionState, id: str, now: datetime) -> Event[ApplyPlan]:
    return Event[ApplyPlan].of(
        payload,
        id=id,
        source="/reporting",
        time=now,
        subject=state.id,
        correlationid=id,
        actor=state.primary_contact,
        actorvendor=False,
        actoraddress="192.0.2.1",
    )


def accepted(value: bytes) -> str | None:
    """Return the id of an outcome's command.

    Raises:
        AssertionError: it was refused; then something else would be measured.
    """
    if _OUTCOME not in value:
        return None
    decided = json.loads(value)["data"]
    assert decided.get("refusal") is None, decided
    return str(decided["command_id"])


async def round_trips(
    made: Section, prepared: Sequence[PreparedCommand], pace: Pace, topics: tuple[str, str], named: Named
) -> list[float]:
    """Return seconds from the due time of each command to its outcome.

    Commands of the warm-up are left out.
    """
    source, target = topics
    due_at: dict[str, float] = {}
    seen_at: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        consumer = AIOKafkaConsumer(target, bootstrap_servers=made.servers.kafka, auto_offset_reset="earliest")
        producer = AIOKafkaProducer(bootstrap_servers=made.servers.kafka, acks="all", enable_idempotence=True)
        for client in (consumer, producer):
            await client.start()
            stack.push_async_callback(client.stop)

        async def listen() -> None:
            while len(seen_at) < len(prepared):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    now = time.perf_counter()
                    seen_at.update(dict.fromkeys(filter(None, (named(one.value) for one in records)), now))

        async with asyncio.timeout(pace.count / pace.rate + WAIT_SECONDS), asyncio.TaskGroup() as tasks:
            tasks.create_task(listen())
            async for number, due in pace.steps():
                one = prepared[number]
                due_at[one.id] = due
                await producer.send(source, one.value, one.key, headers=one.headers)
    return [seen_at[one.id] - due_at[one.id] for number, one in enumerate(prepared) if pace.counts(number)]
