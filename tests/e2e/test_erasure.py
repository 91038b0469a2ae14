"""No trace of a person is found in databases and topics after their erasure."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.local.people import DemoPerson
from shared.events.topics import ALLOCATION_COMMANDS_TOPIC, ALLOCATION_PEOPLE_TOPIC
from tests.support.drivers.catalogue import make_catalogue, make_customer
from tests.support.drivers.product import SERVICES, Customer, Product, until
from tests.support.drivers.runtime import Bench
from tests.support.servers.databases import connect
from tests.support.servers.webhook_recorder import Receiver

pytestmark = pytest.mark.timeout(400)

XENIA = DemoPerson("xenia", "xenia.quill@acme.example", "Xenia Quillfeather", "everything", ("vendor",))
PETRA = DemoPerson("petra", "petra@acme.example", "Petra Later", "primary contact after her")
TEXTS = ("Zanzibar exception", "Tasmanian lot", "Patagonian feature")
MARKS = (XENIA.email, "Quillfeather", *TEXTS)


async def test_no_trace_of_a_person_is_left_when_they_are_erased(product: Product) -> None:
    await make_catalogue(product)
    customer = await make_customer(product, "acme", XENIA)
    async with Receiver() as receiver:
        await _act_everywhere(product, customer, receiver)
        xenia = await product.done("vendor", "GET", f"/v1/accounts/acme/people/{XENIA.email}")
        found = await _search(product)
        assert {mark for marks in found.values() for mark in marks} >= {XENIA.email, "Quillfeather"}
        assert not [where for where, marks in found.items() if set(TEXTS) & marks], "texts are never in the clear"
        data = (await product.call(XENIA, "GET", f"/v1/people/{xenia['id']}/data")).text
        assert [mark for mark in MARKS if mark not in data] == []

        path = f"/v1/people/{xenia['id']}/erasure"
        preview = await product.done("vendor", "POST", path, {"reason": "asked", "preview": True})
        assert preview["ends"]["channels"] == 1
        assert (await product.call(XENIA, "POST", path, {"reason": "me"})).status_code == 403
        await product.done("vendor", "POST", path, {"reason": "asked for it"})

        async def confirmed() -> bool:
            return bool((await product.done("vendor", "GET", path))["complete"])

        await until(confirmed, "all services confirm the erasure")
    await _erase_operator(product)
    await _compact(product)
    allowed = f"topic {ALLOCATION_COMMANDS_TOPIC.name}"

    async def found_elsewhere() -> dict[str, set[str]]:
        return {where: marks for where, marks in (await _search(product)).items() if where != allowed}

    async def is_gone() -> bool:
        return not await found_elsewhere()

    await until(is_gone, "nothing of the person is found", timeout_seconds=90, every_seconds=5)
    await product.services["reporting"].run("verify-audit")
    shown = json.dumps(await product.done("vendor", "GET", "/v1/audit?limit=200"))
    assert f"Erased person {xenia['id'][:4]}" in shown
    assert (await product.call(XENIA, "GET", f"/v1/subscriptions/{customer.subscription}")).status_code in (200, 404)
    again = await product.done("vendor", "POST", "/v1/accounts/acme/people", {"email": XENIA.email, "name": "New"})
    assert again["id"] != xenia["id"]


async def _act_everywhere(product: Product, customer: Customer, receiver: Receiver) -> None:
    path = f"/v1/subscriptions/{customer.subscription}"
    await product.done(XENIA, "PUT", "/v1/accounts/acme/flex", {"enabled": False, "reason": TEXTS[2]})
    await product.done(XENIA, "PUT", "/v1/accounts/acme/flex", {"enabled": True, "reason": TEXTS[2]})
    lot = await product.done(XENIA, "POST", f"{path}/purchases", {"units": 100, "order_reference": "PO-2"})
    lot_id = next(one["id"] for one in await _items(product, f"{path}/purchases") if one["units"] == 100)
    assert lot["command_id"]
    await product.done(XENIA, "POST", f"{path}/purchases/{lot_id}/void", {"reason": TEXTS[1]})
    await product.done(XENIA, "POST", f"{path}/alert-channels", {"kind": "webhook", "url": receiver.url})
    change = {"changes": [{"product": "exposure-scan", "units": 300}]}
    await product.done(XENIA, "POST", f"{path}/rebalances", {**change, "override_reason": TEXTS[0]})
    for number in range(290):
        usage = {
            "specversion": "1.0",
            "id": f"e-{number}",
            "source": "/platforms/exposure-scan",
            "type": "unitpool.platform.usage.recorded.v1",
            "subject": customer.subscription,
            "time": datetime.now(UTC).isoformat(),
            "data": {"product": "exposure-scan", "meter": "host", "resource": f"host-{number}"},
        }
        await product.publish(customer.subscription, json.dumps(usage).encode())

    async def alerts() -> list[dict[str, Any]]:
        return await _items(product, f"{path}/alerts")

    raised = await until(alerts, "an alert is raised")
    await product.done(XENIA, "POST", f"{path}/alerts/{raised[0]['id']}/acknowledge")
    for person in (PETRA, XENIA):
        await product.call("vendor", "POST", "/v1/accounts/acme/people", {"email": person.email, "name": person.name})
    await product.done(XENIA, "PATCH", f"/v1/accounts/acme/people/{XENIA.email}", {"name": f"{XENIA.name} II"})
    await product.done(XENIA, "PUT", f"{path}/primary-contact", {"email": PETRA.email})
    await product.done(PETRA, "PUT", f"{path}/grants/{XENIA.email}", {"grants": ["viewer", "allocator"]})
    await product.done(PETRA, "DELETE", f"{path}/grants/{XENIA.email}")
    await product.done(PETRA, "PUT", f"{path}/grants/{XENIA.email}", {"grants": ["viewer"]})
    role = (await _items(product, "/v1/accounts/acme/roles"))[0]["role"]
    await product.done(PETRA, "POST", f"/v1/accounts/acme/roles/{role}/members", {"email": XENIA.email})
    # Beyond the account she acts as an operator without an account, who is another person.
    await product.done(XENIA, "POST", "/v1/accounts", {"id": "globex", "name": "Globex"})
    await product.done(XENIA, "POST", "/v1/ingest-keys", {"product": "exposure-scan"})


async def _items(product: Product, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await product.done("vendor", "GET", path))["items"]
    return found


async def _erase_operator(product: Product) -> None:
    """Erase the operator that she was outside the account."""
    async with connect(product.databases["allocation"]) as connection:
        one = await connection.fetchval("SELECT id FROM people WHERE account IS NULL AND email = $1", XENIA.email)
    path = f"/v1/people/{one}/erasure"
    await product.done("vendor", "POST", path, {"reason": "left the vendor"})

    async def confirmed() -> bool:
        return bool((await product.done("vendor", "GET", path))["complete"])

    await until(confirmed, "all services confirm the erasure of the operator")


async def _compact(product: Product) -> None:
    """Let Kafka compact the topic of people now, as it does within a week by itself."""
    name = f"{product.topic_prefix}{ALLOCATION_PEOPLE_TOPIC.name}"
    admin = AIOKafkaAdminClient(bootstrap_servers=product.kafka)
    await admin.start()
    try:
        soon = {
            "segment.ms": "100",
            "max.compaction.lag.ms": "100",
            "min.cleanable.dirty.ratio": "0.01",
            "cleanup.policy": "compact",
            "message.timestamp.type": "LogAppendTime",
        }
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=soon)])
    finally:
        await admin.close()
    partitions = await product.producer.partitions_for(name)
    for _ in range(2):  # a record makes the broker begin a segment: only older segments are compacted
        for partition in partitions:
            await product.producer.send_and_wait(name, None, key=b"filler", partition=partition)


async def _search(product: Product) -> dict[str, set[str]]:
    """Return where marks of the person are found: by table, topic or log."""
    return {**await _search_databases(product), **await _search_topics(product), **_search_logs(product)}


def _search_logs(product: Product) -> dict[str, set[str]]:
    found = {log.name: {one for one in MARKS if one in log.read_text()} for log in product.logs.glob("*.log")}
    return {name: marks for name, marks in found.items() if marks}


async def _search_databases(product: Product) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for service in SERVICES:
        async with connect(product.databases[service]) as connection:
            tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            for (table,) in tables:
                rows = await connection.fetch(f'SELECT t::text AS row FROM "{table}" AS t')  # noqa: S608
                dump = "\n".join(row["row"] for row in rows)
                # Bytes are dumped as hexadecimal digits.
                marks = {one for one in MARKS if one in dump or one.encode().hex() in dump}
                if marks:
                    found[f"{service}.{table}"] = marks
    return found


async def _search_topics(product: Product) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    bench = Bench("", product.kafka, product.topic_prefix, product.producer)
    lister = AIOKafkaConsumer(bootstrap_servers=product.kafka)
    await lister.start()
    topics = [one.removeprefix(product.topic_prefix) for one in await lister.topics() if product.topic_prefix in one]
    await lister.stop()
    for topic in topics:
        dump = b"".join((one.key or b"") + (one.value or b"") for one in await bench.records(topic))
        marks = {one for one in MARKS if one.encode() in dump}
        if marks:
            found[f"topic {topic}"] = marks
    return found
