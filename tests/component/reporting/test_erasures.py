"""Erasures of people: request, report, what is shown afterwards, held data."""

import asyncio
import json
from argparse import Namespace
from datetime import timedelta
from typing import Any

import pytest

from services.reporting.sessions import Person, Sessions
from services.reporting.verification import chains as verification
from shared.events.allocation import ErasureChanged
from shared.events.commands.accounts import ErasePerson, IntroducePerson
from shared.events.envelope import Event, by_type, decode
from shared.events.erasure import CONFIRM, ErasureState, confirmation
from shared.events.ids import AccountId, new_text_key
from shared.events.outcomes import SYSTEM, AuditRecord, DecisionRecorded
from shared.events.refusals import Refusal
from shared.events.topics import AUDIT
from shared.runtime.delivery import outbox
from shared.runtime.records import Record
from tests.support.builders.people import opened, person_id, text_key, written
from tests.support.builders.published import (
    ALLOCATOR,
    AUDITOR,
    NOW,
    PRIMARY,
    STRANGER,
    USERADMIN,
    VENDOR,
    VIEWER,
    alert,
    event,
    person,
    plan,
    subscription,
)
from tests.support.drivers.reporting import ReportingDriver
from tests.support.servers.databases import as_owner, connect

ALAN = person_id(ALLOCATOR)
PATH = f"/v1/people/{ALAN}/erasure"
ERASED = f"Erased person {ALAN[:4]}"
NEWCOMER = "newcomer@acme.example"
ACME = AccountId("acme")


def erasure(version: int = 2, **more: Any) -> ErasureChanged:
    """Alan's erasure, requested by the vendor."""
    values = {
        "person": ALAN,
        "account": "acme",
        "requested_by": person_id(VENDOR),
        "reason": written("asked for it", VENDOR),
        "requested_at": NOW,
        "due_at": NOW,
        "erased_at": NOW if version > 1 else None,
        "version": version,
        **more,
    }
    return ErasureChanged(erasure=ErasureState.model_validate(values))


def tombstone(offset: int = 0) -> Record:
    """The record that deletes Alan from the topic of people."""
    return Record("allocation.people", 0, offset, ALAN.encode(), None, (), NOW)


def recorded(**fields: Any) -> Event[Any]:
    """A record of the audit log."""
    values = {"at": NOW, "account": "acme", "actor": ALAN, "action": "apply-plan", "object": "subscription/sub-1"}
    record = AuditRecord.model_validate({**values, "subscription": "sub-1", "outcome": "allowed", **fields})
    return event(DecisionRecorded(record=record))


async def published(driver: ReportingDriver) -> list[Event[DecisionRecorded]]:
    """The records for the audit log that reporting has published."""
    async with driver.runtime.pool.acquire() as connection:
        rows = await outbox.load(connection, 100)
    decoded = [decode(one.value or b"", by_type([DecisionRecorded])) for _, one in rows if one.topic == AUDIT.name]
    return [one for one in decoded if one is not None]


async def erase_alan(driver: ReportingDriver) -> None:
    """Apply what is published when Alan is erased."""
    await driver.apply(erasure())
    await driver.read_people(tombstone())


async def test_the_request_of_an_erasure_is_a_command_with_its_reason_sealed(driver: ReportingDriver) -> None:
    body = {"reason": "He asked for it"}
    asking = asyncio.create_task(driver.ask("POST", PATH, USERADMIN, json=body))
    (sent,) = await driver.sent()
    payload: ErasePerson = sent.command.data
    assert (payload.account, payload.person, payload.preview) == ("acme", ALAN, False)
    assert sent.command.actor == person_id(USERADMIN)
    assert opened(payload.reason, USERADMIN) == "He asked for it"
    reason, by = payload.reason, person_id(USERADMIN)
    await driver.decide(sent.command, erasure(reason=reason, requested_by=by), resource=ALAN, version=2)
    answer = (await asking).json()
    assert (answer["reason"], answer["requested_by"]) == ("He asked for it", USERADMIN)
    assert (answer["complete"], [one["at"] for one in answer["confirmations"]]) == (False, [None] * 4)


async def test_a_preview_says_what_is_erased_and_what_is_kept(driver: ReportingDriver) -> None:
    session = Person(ALLOCATOR, "Alan", vendor=False)
    await Sessions(driver.runtime.pool).begin(session, NOW)
    await driver.apply(recorded(reason=written("too low", ALLOCATOR)))
    asking = asyncio.create_task(driver.ask("POST", PATH, json={"reason": "asked", "preview": True}))
    (sent,) = await driver.sent()
    result = {"due_at": NOW.isoformat(), "ends": {"subscriptions": 1, "roles": 2}}
    await driver.decide(sent.command, resource=ALAN, version=1, result=result)
    answer = (await asking).json()
    assert answer["ends"] == {"subscriptions": 1, "roles": 2, "sessions": 1, "channels": 0, "texts": 1}
    assert answer["preview"] is True
    assert answer["erases"]
    assert all(one["why"] for one in answer["keeps"])


async def test_a_refused_erasure_is_a_problem(driver: ReportingDriver) -> None:
    asking = asyncio.create_task(driver.ask("POST", PATH, json={"reason": "asked"}))
    (sent,) = await driver.sent()
    await driver.decide(sent.command, refusal=Refusal.invalid(("email", "is a primary contact")))
    assert (await asking).status_code == 422


@pytest.mark.parametrize("id", ["0" * 32, "nobody", person_id(NEWCOMER)])
async def test_an_erasure_is_not_found_when_the_person_is_unknown(driver: ReportingDriver, id: str) -> None:
    for method, path in (("POST", "erasure"), ("GET", "erasure"), ("GET", "data")):
        body = {"reason": "asked"} if method == "POST" else None
        answer = await driver.ask(method, f"/v1/people/{id}/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_the_report_names_each_service_with_the_time_of_its_confirmation(driver: ReportingDriver) -> None:
    await driver.apply(erasure())
    first = await driver.get(PATH, USERADMIN)
    assert [one["service"] for one in first["confirmations"]] == ["allocation", "metering", "alerts", "reporting"]
    for service, ended in (("allocation", {"subscriptions": 1}), ("metering", {}), ("alerts", {"channels": 2})):
        confirmed = confirmation(service, ALAN, ACME, NOW, ended)
        await driver.apply(event(DecisionRecorded(record=confirmed)), event(DecisionRecorded(record=confirmed)))
    waiting = await driver.get(PATH, USERADMIN)
    assert (waiting["complete"], waiting["confirmations"][3]["at"]) == (False, None), "it has not read the tombstone"
    await driver.read_people(tombstone())
    await driver.apply(*(await published(driver)))
    done = await driver.get(PATH, USERADMIN)
    assert len((await driver.get(f"/v1/audit?action={CONFIRM}"))["items"]) == 7
    assert done["complete"]
    assert done["confirmations"][2] == {"service": "alerts", "at": "2026-02-20T03:00:00Z", "ended": {"channels": 2}}
    assert (done["reason"], done["requested_by"]) == ("asked for it", VENDOR)


async def test_who_may_see_an_erasure_and_the_data(driver: ReportingDriver) -> None:
    await driver.apply(erasure(version=1, erased_at=None))
    seen = {}
    for who in (VENDOR, USERADMIN, PRIMARY, AUDITOR, VIEWER, ALLOCATOR, STRANGER):
        statuses = [(await driver.ask("GET", path, who)).status_code for path in (PATH, f"/v1/people/{ALAN}/data")]
        seen[who] = tuple(statuses)
    assert seen == {
        VENDOR: (200, 200),
        USERADMIN: (200, 200),
        PRIMARY: (403, 403),
        AUDITOR: (403, 403),
        VIEWER: (404, 404),
        ALLOCATOR: (404, 200),
        STRANGER: (404, 404),
    }


async def test_an_erased_person_is_shown_as_erased_wherever_they_stood(driver: ReportingDriver) -> None:
    state = subscription(version=2, allocated={"scan": 500})
    change = plan(state, 400, 500).model_copy(update={"override_reason": written("my reason", ALLOCATOR)})
    acknowledged = alert("alert-1", state="acknowledged", acknowledged_by=ALAN, acknowledged_at=NOW)
    sealed = {"email": written(ALLOCATOR, ALLOCATOR), "name": written("Alan", ALLOCATOR)}
    await driver.apply(
        event(change, actor=ALAN),
        acknowledged,
        recorded(reason=written("my reason", ALLOCATOR)),
        recorded(actor=person_id(PRIMARY), action="add-person", object=f"account/acme/person/{ALAN}", after=sealed),
    )

    async def shown() -> str:
        paths = ("allocations", "alerts", "grants")
        answers = [await driver.get(f"/v1/subscriptions/sub-1/{path}", PRIMARY) for path in paths]
        return json.dumps([*answers, await driver.get("/v1/audit", AUDITOR)])

    before = await shown()
    assert (before.count(ALLOCATOR), before.count("my reason"), before.count('"Alan"')) == (6, 2, 1)
    await erase_alan(driver)
    after = await shown()
    assert (after.count(ALLOCATOR), after.count("my reason"), after.count('"Alan"')) == (0, 0, 0)
    assert after.count(ERASED) == before.count(ALLOCATOR) + before.count("my reason") + before.count('"Alan"')


async def test_a_text_is_shown_as_erased_when_its_key_is_missing_or_wrong(driver: ReportingDriver) -> None:
    await driver.apply(recorded(actor=SYSTEM, reason=written("secret", NEWCOMER)))
    (one,) = (await driver.get("/v1/audit"))["items"]
    assert one["reason"] == f"Erased person {person_id(NEWCOMER)[:4]}"
    await driver.apply(person(NEWCOMER, account=None, text_key=new_text_key()))
    (one,) = (await driver.get("/v1/audit"))["items"]
    assert one["reason"] == f"Erased person {person_id(NEWCOMER)[:4]}"


async def test_the_audit_chain_is_verified_when_a_person_in_it_is_erased(driver: ReportingDriver) -> None:
    await driver.apply(*(recorded(reason=written(f"reason {n}", ALLOCATOR)) for n in range(3)))
    await erase_alan(driver)
    await driver.apply(recorded(actor=SYSTEM))
    settings = driver.runtime.settings
    assert await verification.verify(settings, Namespace(account=None)) == 0
    async with connect(as_owner(settings.database_url.get_secret_value())) as owner:
        await owner.execute(
            "UPDATE audit_log SET recorded = replace(recorded, 'sealed:', 'opened:') WHERE chain_sequence = 2"
        )
    assert await verification.verify(settings, Namespace(account=None)) == 1


async def test_the_sessions_of_an_erased_person_end_and_no_others(driver: ReportingDriver) -> None:
    sessions = Sessions(driver.runtime.pool)
    theirs = await sessions.begin(Person(ALLOCATOR, "Alan", vendor=False), NOW)
    other = await sessions.begin(Person(PRIMARY, "Paula", vendor=False), NOW)
    await erase_alan(driver)
    assert await sessions.find(theirs, NOW) is None
    assert await sessions.find(other, NOW) is not None
    (confirmed,) = await published(driver)
    assert confirmed.data.record.after == {"service": "reporting", "sessions": 1, "exports": 0}


async def test_a_rebuild_reads_the_tombstone_before_or_without_its_record(driver: ReportingDriver) -> None:
    await erase_alan(driver)
    await driver.apply(*(await published(driver)))
    await driver.read_people(tombstone(), Record(*tombstone(1)))
    assert len(await published(driver)) == 1, "confirmed once"
    assert (await driver.ask("GET", f"/v1/accounts/acme/people/{ALLOCATOR}")).status_code == 404
    await driver.apply(person(ALLOCATOR, id="0" * 32, text_key=new_text_key()))
    again = await driver.get(f"/v1/accounts/acme/people/{ALLOCATOR}")
    assert (again["id"], again["subscriptions"]) == ("0" * 32, [])


async def test_the_address_of_a_person_is_corrected_everywhere(driver: ReportingDriver) -> None:
    await driver.apply(recorded(), alert("alert-1", state="acknowledged", acknowledged_by=ALAN, acknowledged_at=NOW))
    new = "alan.allocator@acme.example"
    await driver.apply(person(new, id=ALAN, text_key=text_key(ALLOCATOR), version=2))
    assert (await driver.get("/v1/audit"))["items"][0]["actor"] == new
    assert (await driver.get("/v1/subscriptions/sub-1/alerts", new))["items"][0]["acknowledged_by"] == new
    assert (await driver.ask("GET", "/v1/subscriptions/sub-1", ALLOCATOR)).status_code == 404
    assert len((await driver.get(f"/v1/audit?actor={new}"))["items"]) == 1


async def test_the_data_of_a_person_is_complete_and_names_nobody_else(driver: ReportingDriver) -> None:
    state = subscription(version=2, allocated={"scan": 500})
    change = plan(state, 400, 500).model_copy(update={"override_reason": written("my reason", ALLOCATOR)})
    await Sessions(driver.runtime.pool).begin(Person(ALLOCATOR, "Alan", vendor=False), NOW)
    await driver.apply(
        event(change, actor=ALAN),
        alert("alert-1", state="acknowledged", acknowledged_by=ALAN, acknowledged_at=NOW),
        recorded(reason=written("my reason", ALLOCATOR)),
        recorded(actor=person_id(PRIMARY), after={"person": ALAN}, reason=written("hers", PRIMARY)),
        recorded(actor=person_id(PRIMARY), reason=written("nothing about him", PRIMARY)),
    )
    answer = await driver.ask("GET", f"/v1/people/{ALAN}/data", ALLOCATOR)
    assert answer.headers["cache-control"] == "no-store"
    data = answer.json()
    assert (data["person"]["email"], data["erasure"]) == (ALLOCATOR, None)
    assert "text_key" not in answer.text
    assert data["subscriptions"] == [{"subscription": "sub-1", "role": "allocator"}]
    assert [one["reason"] for one in data["allocations"]] == ["my reason"]
    assert [one["id"] for one in data["alerts_acknowledged"]] == ["alert-1"]
    assert [one["record"]["reason"] for one in data["audit"]] == ["my reason", "sealed"]
    assert len(data["sessions"]) == 1
    assert not [other for other in (PRIMARY, VIEWER, VENDOR) if other in answer.text]


async def test_the_data_of_an_erased_person_has_no_address_and_no_text(driver: ReportingDriver) -> None:
    await driver.apply(recorded(reason=written("my reason", ALLOCATOR)))
    await erase_alan(driver)
    data = await driver.get(f"/v1/people/{ALAN}/data", USERADMIN)
    assert (data["person"], data["erasure"]["erased_at"]) == (None, "2026-02-20T03:00:00Z")
    assert [one["record"]["reason"] for one in data["audit"]] == ["sealed"]


async def test_a_person_without_an_account_is_introduced_before_their_first_command(empty: ReportingDriver) -> None:
    body = {"id": "acme", "name": "Acme"}
    asking = asyncio.create_task(empty.ask("POST", "/v1/accounts", NEWCOMER, json=body))
    (introduction,) = await empty.sent()
    assert isinstance(introduction.command.data, IntroducePerson)
    assert (introduction.command.data.email, introduction.command.actor) == (NEWCOMER, SYSTEM)
    await empty.apply(event(person(NEWCOMER, account=None), causation=introduction.command.id))
    await empty.decide(introduction.command, resource=person_id(NEWCOMER), version=1)
    _, sent = await empty.sent(2)
    assert (sent.command.actor, sent.command.actorvendor) == (person_id(NEWCOMER), False)
    asking.cancel()


async def test_a_stranger_acts_as_a_person_of_their_account_and_an_operator_does_not(driver: ReportingDriver) -> None:
    await driver.apply(person(VENDOR, id="0" * 32, text_key=new_text_key()))
    tasks = []
    for number, who in enumerate((ALLOCATOR, VENDOR)):
        body = {"id": f"other-{number}", "name": "Other"}
        tasks.append(asyncio.create_task(driver.ask("POST", "/v1/accounts", who, json=body)))
        await driver.sent(number + 1)
    assert [one.command.actor for one in await driver.sent(2)] == [ALAN, person_id(VENDOR)]
    for task in tasks:
        task.cancel()


async def test_a_command_is_unavailable_when_its_sender_is_not_introduced_in_time(empty: ReportingDriver) -> None:
    answer = await empty.ask("POST", "/v1/accounts", NEWCOMER, json={"id": "acme", "name": "Acme"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers
    assert len(await empty.sent()) == 1


async def test_a_command_id_is_used_also_when_its_sender_is_another_person_by_then(driver: ReportingDriver) -> None:
    key, path = {"Idempotency-Key": "6d6a3d7b-9d3c-4f0e-8f6a-2b8f0c1d2e3f"}, "/v1/subscriptions/sub-1/cancel"
    first = asyncio.create_task(driver.ask("POST", path, json={"reason": "left"}, headers=key))
    (sent,) = await driver.sent()
    await driver.apply(person(VENDOR, id="0" * 32, text_key=new_text_key()))
    again = asyncio.create_task(driver.ask("POST", path, json={"reason": "left"}, headers=key))
    await asyncio.sleep(0.2)
    assert len(await driver.sent()) == 1
    await driver.decide(sent.command, resource="sub-1", version=1)
    assert [(await one).status_code for one in (first, again)] == [200, 200]


async def test_the_key_of_a_person_is_never_shown(driver: ReportingDriver) -> None:
    text = json.dumps([await driver.get("/v1/accounts/acme/people"), await driver.get(f"/v1/people/{ALAN}/data")])
    assert "text_key" not in text
    await driver.apply(erasure(due_at=NOW + timedelta(days=7), version=1))
    assert CONFIRM not in json.dumps(await driver.get("/v1/audit"))
