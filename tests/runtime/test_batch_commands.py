"""A batch handler decides commands from one lookup and saves them at once.

The outcomes are those of single commands.
"""

from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from shared.events.commands.alerts import AcknowledgeAlert, RemoveChannel
from shared.events.envelope import Event, Payload, by_type, decode
from shared.events.outcomes import AlertsCommandDecided
from shared.events.refusals import Refusal
from shared.events.topics import ALERTS_COMMANDS_TOPIC, ALERTS_EVENTS_TOPIC
from shared.runtime.commands.decisions import Accepted, BatchCommandHandler, Decision, Planned, Postponed, Refused
from shared.runtime.commands.inbox import Inbox
from shared.runtime.delivery import outbox
from shared.runtime.delivery.batch_runner import transaction
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.process.clock import utc_now
from shared.runtime.records import Record
from shared.runtime.signing import SIGNATURE_HEADER, sign
from tests.conftest import MakeDatabase
from tests.support.drivers.runtime import KEYS, event
from tests.support.servers.databases import as_owner, connect

TOPIC = ALERTS_COMMANDS_TOPIC.name
REFUSED = Refused(Refusal(code="already_exists", message="Too late."))


class Counted(Payload):
    """The event of a change."""

    event_type = "unitpool.alerts.test.counted.v1"
    name: str


@dataclass
class Acknowledging:
    """A handler that adds 1 to a row per alert.

    It refuses, postpones or plans alone the alerts whose names begin with ``refused``, ``later`` or ``alone``.
    """

    looked_up: list[list[str]] = field(default_factory=list)
    saved: list[list[str]] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)

    async def __call__(self, tx: Transaction, command: Event[AcknowledgeAlert]) -> Decision:
        self.alone.append(command.data.alert)
        await self.save(tx, [command.data.alert])
        return Accepted(resource=command.data.alert)

    def subject(self, command: Event[AcknowledgeAlert]) -> Hashable:
        return command.data.alert

    async def prefetch(self, tx: Transaction, commands: Sequence[Event[AcknowledgeAlert]]) -> Mapping[str, int]:
        names = [command.data.alert for command in commands]
        self.looked_up.append(names)
        rows = await tx.connection.fetch("SELECT name, count FROM counts WHERE name = ANY($1::text[])", names)
        return {row["name"]: row["count"] for row in rows}

    def decide(
        self,
        command: Event[AcknowledgeAlert],
        prefetched: Mapping[str, int],
        now: datetime,  # noqa: ARG002 - as the protocol says
    ) -> Planned[str] | None:
        name = command.data.alert
        if name.startswith("alone"):
            return None
        if name.startswith("refused"):
            return Planned(REFUSED)
        if name.startswith("later"):
            return Planned(Postponed(REFUSED, 60))
        counted = Counted(name=name)
        return Planned(Accepted(resource=name, version=prefetched.get(name, 0) + 1), name, [(name, counted)])

    async def save(self, tx: Transaction, changes: Sequence[str]) -> None:
        self.saved.append(list(changes))
        await tx.connection.execute(
            "INSERT INTO counts SELECT name, 1 FROM unnest($1::text[]) AS new (name)"
            " ON CONFLICT (name) DO UPDATE SET count = counts.count + 1",
            list(changes),
        )


async def removed(_tx: Transaction, command: Event[RemoveChannel]) -> Decision:
    return Accepted(resource=command.data.channel)


def asked(alert: str, id: str | None = None) -> Event[Any]:
    return event(AcknowledgeAlert(subscription="s-1", alert=alert), actor="paula@acme.example", id=id or str(uuid4()))


def record(command: Event[Any], key: str, offset: int) -> Record:
    value = command.encode()
    headers = ((SIGNATURE_HEADER, sign(value, KEYS, TOPIC)),)
    return Record(TOPIC, 0, offset, key.encode(), value, headers, utc_now())


class Batches:
    """Driver of the inbox with this handler."""

    def __init__(self, pool: Any) -> None:
        self.pool, self.handler = pool, Acknowledging()
        self.inbox = Inbox(
            {AcknowledgeAlert: self.handler, RemoveChannel: removed},
            decided=AlertsCommandDecided,
            events_topic=ALERTS_EVENTS_TOPIC,
            keys=KEYS,
        )

    async def apply(self, *commands: tuple[str, Event[Any]]) -> list[Any]:
        """Apply commands with their keys in one batch.

        Returns the published events in order.
        """
        async with transaction(self.pool, utc_now, "alerts") as tx:
            await self.inbox(tx, [record(one, key, offset) for offset, (key, one) in enumerate(commands)])
        types = by_type([AlertsCommandDecided])
        async with self.pool.acquire() as connection:
            rows = await outbox.load(connection, 1000)
            await outbox.delete(connection, [number for number, _ in rows])
        published = [one.value or b"" for _, one in rows if one.topic == ALERTS_EVENTS_TOPIC.name]
        return [found.data if (found := decode(value, types)) else "event" for value in published]

    async def counts(self) -> dict[str, int]:
        return {row["name"]: row["count"] for row in await self.pool.fetch("SELECT name, count FROM counts")}


@pytest.fixture
async def batches(database: MakeDatabase) -> AsyncIterator[Batches]:
    dsn = await database("runtime")
    async with connect(as_owner(dsn)) as connection:
        await connection.execute("CREATE TABLE counts (name text PRIMARY KEY, count integer NOT NULL)")
        await connection.execute("GRANT ALL ON counts TO PUBLIC")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        yield Batches(pool)


def test_a_batch_handler_is_recognised_by_its_methods() -> None:
    assert isinstance(Acknowledging(), BatchCommandHandler)
    assert not isinstance(removed, BatchCommandHandler)


async def test_a_batch_has_one_prefetch_and_one_save_and_each_event_precedes_its_outcome(batches: Batches) -> None:
    published = await batches.apply(("a", asked("a")), ("r", asked("refused")), ("b", asked("b")))
    assert batches.handler.looked_up == [["a", "refused", "b"]]
    assert batches.handler.saved == [["a", "b"]]
    assert ["event" if one == "event" else (one.resource, one.accepted) for one in published] == [
        "event",
        ("a", True),
        (None, False),
        "event",
        ("b", True),
    ]
    assert await batches.counts() == {"a": 1, "b": 1}


async def test_the_second_command_on_a_subject_sees_the_change_of_the_first(batches: Batches) -> None:
    published = await batches.apply(("a", asked("a")), ("b", asked("b")), ("other", asked("a")), ("c", asked("c")))
    assert batches.handler.looked_up == [["a", "b"], ["a", "c"]]
    assert [one.version for one in published if one != "event"] == [1, 1, 2, 1]
    assert await batches.counts() == {"a": 2, "b": 1, "c": 1}


async def test_a_repeat_in_the_same_batch_or_later_gets_the_first_outcome(batches: Batches) -> None:
    first = asked("a")
    published = await batches.apply(("a", first), ("x", first), ("b", asked("b")))
    again = await batches.apply(("a", first), ("b", asked("b")))
    assert [one.version for one in published if one != "event"] == [1, 1, 1]
    assert [one.version for one in again if one != "event"] == [1, 2]
    assert await batches.counts() == {"a": 1, "b": 2}


async def test_a_command_is_decided_alone_when_its_data_was_not_prefetched(batches: Batches) -> None:
    published = await batches.apply(("a", asked("a")), ("x", asked("alone")), ("b", asked("b")))
    assert batches.handler.alone == ["alone"]
    assert [one.resource for one in published if one != "event"] == ["a", "alone", "b"]
    assert await batches.counts() == {"a": 1, "alone": 1, "b": 1}


async def test_commands_queue_behind_a_postponed_one_of_their_key(batches: Batches) -> None:
    published = await batches.apply(("a", asked("later")), ("b", asked("b")), ("a", asked("a")), ("a", asked("a")))
    assert [one.resource for one in published if one != "event"] == ["b"]
    assert await batches.counts() == {"b": 1}
    waiting = await batches.pool.fetchval("SELECT count(*) FROM postponed_commands")
    assert waiting == 3
    assert await batches.apply(("a", asked("a"))) == [], "also in a later batch"


async def test_commands_of_another_kind_are_decided_in_their_order(batches: Batches) -> None:
    other = event(RemoveChannel(subscription="s-1", channel="ch-1"), actor="paula@acme.example", id=str(uuid4()))
    published = await batches.apply(("a", asked("a")), ("a", other), ("a", asked("a")))
    assert [one.resource for one in published if one != "event"] == ["a", "ch-1", "a"]
    assert batches.handler.looked_up == [["a"], ["a"]]


async def test_a_save_that_fails_leaves_nothing_of_the_batch(batches: Batches) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await batches.apply(("a", asked("a")), ("b", asked("b\0")))
    assert await batches.counts() == {}
    assert [one.version for one in await batches.apply(("a", asked("a"))) if one != "event"] == [1]
