"""Postponed commands: other keys do not wait for them.

Each is decided or refused in the end.
"""

from typing import Any
from uuid import uuid4

from shared.events.commands.alerts import AcknowledgeAlert
from shared.events.envelope import Event
from shared.events.outcomes import AlertsCommandDecided
from shared.events.refusals import Refusal
from shared.events.topics import ALERTS_COMMANDS_TOPIC, ALERTS_EVENTS_TOPIC, AUDIT
from shared.runtime.commands.decisions import Accepted, AuditEntry, Decision, Postponed, Refused
from shared.runtime.delivery.transaction import PermanentError, Transaction
from shared.runtime.service.definition import Runtime
from tests.support.drivers.runtime import Bench, audited, event, reason_headers, until
from tests.support.servers.databases import connect

WAIT_SECONDS = 60.0


async def acknowledge(tx: Transaction, command: Event[AcknowledgeAlert]) -> Decision:
    """Insert a row; some alerts are postponed until there is a row ``go``.

    Those begin with ``wait``, ``briefly`` (which has a short deadline) or ``bad`` (which then is a permanent error).
    """
    alert = command.data.alert
    entry = AuditEntry("acknowledge", alert, account="acme")
    await tx.connection.execute("INSERT INTO applied VALUES ($1, 0, 0)", alert)
    if alert == "briefly" or alert.startswith(("wait", "bad")):
        if not await tx.connection.fetchval("SELECT true FROM applied WHERE id = 'go'"):
            refused = Refused(Refusal(code="unavailable", message="Not yet."), audit=entry)
            return Postponed(refused, 0.2 if alert == "briefly" else WAIT_SECONDS)
        if alert == "bad":
            raise PermanentError("spoilt", "it has waited for too long")
    return Accepted(resource=alert, audit=entry)


def build(runtime: Runtime[Any]) -> None:
    runtime.consume_commands(
        ALERTS_COMMANDS_TOPIC,
        {AcknowledgeAlert: acknowledge},
        decided=AlertsCommandDecided,
        events_topic=ALERTS_EVENTS_TOPIC,
    )


def command(alert: str, **attributes: Any) -> Event[Any]:
    return event(AcknowledgeAlert(subscription="s-1", alert=alert), **{"actor": "paula@acme.example", **attributes})


async def decided(bench: Bench, count: int) -> list[AlertsCommandDecided]:
    """Wait for this number of outcomes; return them."""

    async def enough() -> Any:
        records = await bench.records(ALERTS_EVENTS_TOPIC)
        return records if len(records) >= count else None

    records = await until(enough, what=f"{count} outcomes")
    return [Event[AlertsCommandDecided].model_validate_json(record.value).data for record in records]


async def apply(bench: Bench, row: str) -> None:
    async with connect(bench.dsn) as connection:
        await connection.execute("INSERT INTO applied VALUES ($1, 0, 0)", row)


async def count(bench: Bench, table: str) -> int:
    async with connect(bench.dsn) as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608


async def test_other_keys_are_decided_and_its_own_in_order_when_a_command_is_postponed(bench: Bench) -> None:
    async with bench.running(build):
        for alert, key in (("wait-1", "s-1"), ("after", "s-1"), ("other", "s-2")):
            await bench.send_command(ALERTS_COMMANDS_TOPIC, command(alert), key=key)
        assert [one.resource for one in await decided(bench, 1)] == ["other"]
        assert await count(bench, "postponed_commands") == 2
        await apply(bench, "go")
        outcomes = [str(one.resource) for one in await decided(bench, 3)]
        keys = [record.key for record in await bench.records(ALERTS_EVENTS_TOPIC)]
    decisions = list(zip(keys, outcomes, strict=True))
    assert [alert for key, alert in decisions if key == b"s-1"] == ["wait-1", "after"]
    assert (b"s-2", "other") in decisions
    assert await count(bench, "postponed_commands") == 0
    assert await count(bench, "applied") == 4
    assert len(audited(await bench.records(AUDIT))) == 3


async def test_postponed_commands_survive_a_restart(bench: Bench) -> None:
    async with bench.running(build):
        await bench.send_command(ALERTS_COMMANDS_TOPIC, command("wait-1"), key="s-1")

        async def waits() -> bool:
            return await count(bench, "postponed_commands") == 1

        await until(waits)
    await apply(bench, "go")
    async with bench.running(build):
        (outcome,) = await decided(bench, 1)
    assert outcome.accepted
    assert await count(bench, "postponed_commands") == 0


async def test_a_postponed_command_is_refused_at_its_deadline_and_may_be_sent_again(bench: Bench) -> None:
    command_id = str(uuid4())
    async with bench.running(build):
        await bench.send_command(ALERTS_COMMANDS_TOPIC, command("briefly", id=command_id), key="s-1")
        (refused,) = await decided(bench, 1)
        assert refused.refusal is not None
        assert refused.refusal.code == "unavailable"
        assert await count(bench, "inbox") == 0
        await apply(bench, "go")
        for _ in range(2):
            await bench.send_command(ALERTS_COMMANDS_TOPIC, command("briefly", id=command_id), key="s-1")
        outcomes = await decided(bench, 3)
    assert [one.accepted for one in outcomes] == [False, True, True]
    assert await count(bench, "applied") == 2


async def test_a_postponed_command_becomes_a_dead_letter_when_it_can_never_be_decided(bench: Bench) -> None:
    async with bench.running(build):
        for alert in ("bad", "after"):
            await bench.send_command(ALERTS_COMMANDS_TOPIC, command(alert), key="s-1")
        await apply(bench, "go")
        assert [one.resource for one in await decided(bench, 1)] == ["after"]
        (dead,) = await bench.records("alerts.commands.alerts.dlq")
    assert reason_headers(dead)["reason"] == "spoilt"
    assert dead.key == b"s-1"
