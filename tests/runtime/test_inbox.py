"""The inbox: a command has one effect and one outcome.

Unverified commands are dead-lettered.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from aiokafka import ConsumerRecord

from shared.events.commands.alerts import AcknowledgeAlert
from shared.events.envelope import Event
from shared.events.outcomes import AlertsCommandDecided
from shared.events.refusals import Refusal
from shared.events.topics import ALERTS_COMMANDS_TOPIC, ALERTS_EVENTS_TOPIC, AUDIT
from shared.runtime.commands.decisions import Accepted, AuditEntry, Decision, Refused
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.service.definition import Runtime
from shared.runtime.signing import parse_keys, sign
from tests.support.drivers.runtime import KEYS, Bench, audited, event, reason_headers, until
from tests.support.servers.databases import connect

DEAD = "alerts.commands.alerts.dlq"
OTHER_KEYS = parse_keys("other:b3RoZXIta2V5LW90aGVyLWtleS1vdGhlci1rZXktb3RoZXI=")


async def acknowledge(tx: Transaction, command: Event[AcknowledgeAlert]) -> Decision:
    """Insert a row in any case; refuse the command ``late``."""
    alert = command.data.alert
    await tx.connection.execute("INSERT INTO applied VALUES ($1, 0, 0)", alert)
    entry = AuditEntry("acknowledge", alert, account="acme", after={"state": "acknowledged"})
    if alert == "late":
        return Refused(Refusal(code="already_exists", message="Too late.", details={"at": 3}), audit=entry)
    return Accepted(resource=alert, version=2, audit=entry)


def build(runtime: Runtime[Any]) -> None:
    runtime.consume_commands(
        ALERTS_COMMANDS_TOPIC,
        {AcknowledgeAlert: acknowledge},
        decided=AlertsCommandDecided,
        events_topic=ALERTS_EVENTS_TOPIC,
    )


def command(alert: str = "a-1", **attributes: Any) -> Event[Any]:
    defaults: dict[str, Any] = {"actor": "paula@acme.example", "actoraddress": "10.0.0.1", "correlationid": "c-1"}
    return event(AcknowledgeAlert(subscription="s-1", alert=alert), **{**defaults, **attributes})


async def outcomes(bench: Bench, count: int) -> list[Event[AlertsCommandDecided]]:
    async def enough() -> Sequence[ConsumerRecord]:
        records = await bench.records(ALERTS_EVENTS_TOPIC)
        return records if len(records) >= count else []

    records = await until(enough, what=f"{count} outcomes")
    return [Event[AlertsCommandDecided].model_validate_json(record.value) for record in records]


async def effects(bench: Bench) -> int:
    async with connect(bench.dsn) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM applied"))


async def test_an_accepted_command_has_an_effect_an_outcome_and_an_audit_record(bench: Bench) -> None:
    sent = command()
    async with bench.running(build):
        await bench.send_command(ALERTS_COMMANDS_TOPIC, sent, key="s-1")
        (outcome,) = await outcomes(bench, 1)
    assert outcome.data.accepted
    assert (str(outcome.data.command_id), outcome.data.resource, outcome.data.version) == (sent.id, "a-1", 2)
    assert (outcome.correlationid, outcome.causationid, outcome.actor) == ("c-1", sent.id, "paula@acme.example")
    assert (await bench.records(ALERTS_EVENTS_TOPIC))[0].key == b"s-1"
    (record,) = audited(await bench.records(AUDIT))
    assert (record.outcome, record.actor, record.address, record.account) == (
        "allowed",
        "paula@acme.example",
        "10.0.0.1",
        "acme",
    )
    assert await effects(bench) == 1


async def test_a_repeated_command_has_the_same_outcome_and_no_effect(bench: Bench) -> None:
    command_id = str(uuid4())
    async with bench.running(build):
        for correlation in ("c-1", "c-2", "c-3"):
            sent = command(id=command_id, correlationid=correlation)
            await bench.send_command(ALERTS_COMMANDS_TOPIC, sent)
        answers = await outcomes(bench, 3)
    assert len({answer.data.model_dump_json() for answer in answers}) == 1
    assert {answer.correlationid for answer in answers} == {"c-1", "c-2", "c-3"}
    assert await effects(bench) == 1
    assert len(await bench.records(AUDIT)) == 1


async def test_a_refused_command_leaves_nothing_but_its_outcome(bench: Bench) -> None:
    async with bench.running(build):
        await bench.send_command(ALERTS_COMMANDS_TOPIC, command("late"))
        (outcome,) = await outcomes(bench, 1)
    assert outcome.data.refusal is not None
    assert (outcome.data.refusal.code, outcome.data.refusal.details) == ("already_exists", {"at": 3})
    assert await effects(bench) == 0
    (record,) = audited(await bench.records(AUDIT))
    assert (record.outcome, record.reason, record.after) == ("denied", "already_exists", None)


async def test_the_first_outcome_is_unchanged_when_its_id_is_reused_for_another_command(bench: Bench) -> None:
    command_id = str(uuid4())
    async with bench.running(build):
        await bench.send_command(ALERTS_COMMANDS_TOPIC, command("a-1", id=command_id))
        await bench.send_command(ALERTS_COMMANDS_TOPIC, command("a-2", id=command_id))
        await bench.send_command(ALERTS_COMMANDS_TOPIC, command("a-1", id=command_id))
        answers = await outcomes(bench, 2)
        await until(lambda: two_audits(bench))
    assert {answer.data.resource for answer in answers} == {"a-1"}
    assert await effects(bench) == 1
    assert {record.reason for record in audited(await bench.records(AUDIT))} == {None, "idempotency_key_reused"}


async def two_audits(bench: Bench) -> bool:
    return len(await bench.records(AUDIT)) == 2


async def test_the_same_id_of_another_person_is_another_command(bench: Bench) -> None:
    command_id = str(uuid4())
    async with bench.running(build):
        await bench.send_command(ALERTS_COMMANDS_TOPIC, command("a-1", id=command_id))
        await bench.send_command(ALERTS_COMMANDS_TOPIC, command("a-2", id=command_id, actor="vera@unitpool.example"))
        answers = await outcomes(bench, 2)
    assert sorted(str(answer.data.resource) for answer in answers) == ["a-1", "a-2"]


async def test_a_command_is_audited_and_dead_lettered_without_a_halt_when_it_is_unverified(bench: Bench) -> None:
    genuine, forged, here = command("good"), command("evil"), ALERTS_COMMANDS_TOPIC.name
    signature_of_another = sign(genuine.encode(), parse_keys("test:" + "QUFB" * 12), here)
    async with bench.running(build, dead_letter_limit=1) as runtime:
        await bench.send_command(ALERTS_COMMANDS_TOPIC, forged, signature=None)
        await bench.send_command(ALERTS_COMMANDS_TOPIC, forged, signature=b"\xff not a signature")
        await bench.send_command(ALERTS_COMMANDS_TOPIC, forged, signature=sign(forged.encode(), OTHER_KEYS, here))
        await bench.send_command(ALERTS_COMMANDS_TOPIC, forged, signature=signature_of_another)
        await bench.send_command(ALERTS_COMMANDS_TOPIC, forged, signature=sign(genuine.encode(), KEYS, here))
        for _ in range(3):  # a genuine command, copied from another topic
            copied = sign(genuine.encode(), KEYS, "allocation.commands")
            await bench.send_command(ALERTS_COMMANDS_TOPIC, genuine, signature=copied)
        await bench.send_command(ALERTS_COMMANDS_TOPIC, command("evil", actor=None))
        await bench.send_command(ALERTS_COMMANDS_TOPIC, genuine)
        answers = await outcomes(bench, 1)
        assert runtime.consumers[0].halted is None
    assert [answer.data.resource for answer in answers] == ["good"]
    dead = await bench.records(DEAD)
    assert [reason_headers(letter)["reason"] for letter in dead] == [
        "unsigned",
        "forged",
        "unknown_key",
        "forged",
        "forged",
        *["forged"] * 3,
        "no_actor",
    ]
    denied = [record for record in audited(await bench.records(AUDIT)) if record.outcome == "denied"]
    assert [record.reason for record in denied] == [reason_headers(letter)["reason"] for letter in dead]
    assert {record.actor for record in denied} == {"unverified"}
    assert await effects(bench) == 1


async def test_an_outcome_is_published_within_the_latency_limit(bench: Bench) -> None:
    """The time is from a command in Kafka to its outcome in Kafka.

    The limit allows for a busy machine.
    """
    async with bench.running(build):
        await bench.send_command(ALERTS_COMMANDS_TOPIC, command("warm"))
        await outcomes(bench, 1)
        took = []
        for number in range(20):
            started = time.perf_counter()
            await bench.send_command(ALERTS_COMMANDS_TOPIC, command(f"a-{number}"))
            await until(partial(published, bench, number + 2))
            took.append(time.perf_counter() - started)
    took.sort()
    print(f"median {took[10] * 1000:.1f} ms, slowest {took[-1] * 1000:.1f} ms")
    assert took[10] < 0.25


async def published(bench: Bench, count: int) -> bool:
    """Whether ``count`` outcomes are published, by the tables.

    A new Kafka consumer would add its own start time.
    """
    async with connect(bench.dsn) as connection:
        decided = await connection.fetchval("SELECT count(*) FROM inbox")
        waiting = await connection.fetchval("SELECT count(*) FROM outbox")
    return bool(decided >= count and waiting == 0)
