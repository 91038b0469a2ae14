"""Events of the official CloudEvents SDK, over HTTP and Kafka, in every form."""

from datetime import datetime
from typing import Any

import httpx
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v03.event import CloudEvent as OldCloudEvent
from cloudevents.core.v1.event import CloudEvent

from shared.runtime.process.clock import utc_now
from tests.component.metering.test_ingest_paths import reasons
from tests.support.builders.metering import event
from tests.support.drivers.metering import KEY, Metering
from tests.support.servers.databases import connect

AUTH = {"authorization": f"Bearer {KEY}"}
TAKEN = {"accepted": 1, "duplicates": 0, "refused": []}


def sdk_event(id: str, resource: str, of: type[BaseCloudEvent] = CloudEvent, **extensions: str) -> Any:
    """Build an event with the SDK, as a platform does."""
    item = event(id, at=utc_now(), resource=resource)
    data = item.pop("data")
    item |= {"time": datetime.fromisoformat(item["time"]), "datacontenttype": "application/json", **extensions}
    if of is OldCloudEvent:
        item["specversion"] = "0.3"
    return of(item, data)


def subject_of(one: BaseCloudEvent) -> str:
    """Return the record's key for the SDK."""
    return str(one.get_attributes()["subject"])


async def counted(metering: Metering) -> list[str]:
    async with connect(metering.dsn) as connection:
        return [row["resource"] for row in await connection.fetch("SELECT resource FROM sighting ORDER BY resource")]


async def test_ingest_accepts_the_structured_binary_and_batch_requests_of_the_sdk(metering: Metering) -> None:
    structured = http.to_structured_event(sdk_event("s", "in structured mode", tenant="x"))
    binary = http.to_binary_event(sdk_event("b 1 % ü", "in binary mode", tenant="ü 100%"))
    batch = b",".join(JSONFormat().write(sdk_event(f"batch-{n}", f"in batch {n}")) for n in range(3))
    async with httpx.AsyncClient(base_url=metering.process.url, headers=AUTH) as client:
        for message in (structured, binary):
            answer = await client.post("/v1/usage", content=message.body, headers=message.headers)
            assert (answer.status_code, answer.json()) == (202, TAKEN), answer.text
        answer = await client.post(
            "/v1/usage", content=b"[" + batch + b"]", headers={"content-type": "application/cloudevents-batch+json"}
        )
        assert (answer.status_code, answer.json()["accepted"]) == (202, 3)
    assert await metering.accepted(5) == {"accepted": 5, "applied": 5, "duplicate": 0, "quarantined": 0}
    assert await counted(metering) == [*(f"in batch {n}" for n in range(3)), "in binary mode", "in structured mode"]
    async with connect(metering.dsn) as connection:
        kept = await connection.fetch("SELECT extra FROM usage WHERE extra IS NOT NULL ORDER BY extra")
    assert [row["extra"] for row in kept] == ['{"tenant": "\\u00fc 100%"}', '{"tenant": "x"}']


async def test_an_event_counts_once_when_it_arrives_in_two_forms(metering: Metering) -> None:
    one = sdk_event("one", "r")
    async with httpx.AsyncClient(base_url=metering.process.url, headers=AUTH) as client:
        for message in (http.to_structured_event(one), http.to_binary_event(one)):
            answer = await client.post("/v1/usage", content=message.body, headers=message.headers)
            assert answer.json() == TAKEN
    assert await metering.accepted(2) == {"accepted": 2, "applied": 1, "duplicate": 1, "quarantined": 0}


async def test_a_record_is_quarantined_unchanged_when_the_sdk_did_not_write_structured_mode(metering: Metering) -> None:
    topic = f"{metering.prefix}usage.events"
    structured = kafka.to_structured(sdk_event("s", "r"), JSONFormat(), subject_of)
    binary = kafka.to_binary(sdk_event("b", "r"), JSONFormat(), subject_of)
    old = kafka.to_structured(sdk_event("o", "r", OldCloudEvent), JSONFormat(), subject_of)
    for message in (structured, binary, old):
        key = message.key.encode() if isinstance(message.key, str) else message.key
        headers = list(message.headers.items())
        await metering.client.send_and_wait(topic, message.value, key, headers=headers, partition=0)
    assert await metering.accepted(3) == {"accepted": 3, "applied": 1, "duplicate": 0, "quarantined": 2}
    assert [reason for reason, _ in await reasons(metering)] == ["malformed", "malformed"]
    async with connect(metering.dsn) as connection:
        values = [row["value"] for row in await connection.fetch("SELECT value FROM quarantine ORDER BY id")]
    assert values == [binary.value, old.value]


@pytest.mark.parametrize("convert", [http.to_structured_event, http.to_binary_event])
async def test_ingest_refuses_version_0_3(metering: Metering, convert: Any) -> None:
    message = convert(sdk_event("old", "r", OldCloudEvent))
    async with httpx.AsyncClient(base_url=metering.process.url, headers=AUTH) as client:
        answer = await client.post("/v1/usage", content=message.body, headers=message.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
