"""The whole product for browser tests, with a customer and the sign-in service."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from aiokafka import AIOKafkaProducer

from deploy.local.oidc.tokens import Issuer
from deploy.local.people import person
from deploy.local.ports import free_port
from deploy.local.topics import create_topics
from shared.events.envelope import Event
from shared.events.topics import every_topic
from shared.events.usage import UsageRecorded
from tests.support.drivers.processes import ServiceProcess, service_env
from tests.support.servers.databases import create_database, drop_database

SERVICES = ("allocation", "metering", "alerts", "reporting")
CLIENT_ID, CLIENT_SECRET = "unitpool-page", "browser-test-secret"
PRODUCTS = {
    "exposure-scan": ("Exposure Scan", "host", "unique", 1, 1),
    "risk-hub": ("Risk Hub", "asset", "unique", 1, 2),
    "surface-watch": ("Surface Watch", "asset", "peak", 2, 1),
}


@dataclass
class Stack:
    """A running product, to which tests send requests and usage."""

    url: str
    issuer: Issuer
    producer: AIOKafkaProducer
    topic_prefix: str
    processes: dict[str, ServiceProcess] = field(default_factory=dict)

    def token(self, who: str) -> str:
        """A bearer token of a demo person."""
        known = person(who)
        assert known is not None
        return self.issuer.access_token(known)

    async def ask(self, who: str, method: str, path: str, body: Any = None, *, until: int = 200) -> dict[str, Any]:
        """Repeat a request until it is answered with the status ``until``.

        Returns the JSON answer.
        """
        deadline = time.monotonic() + 20
        async with httpx.AsyncClient(base_url=self.url, timeout=20) as http:
            while True:
                answer = await http.request(
                    method, path, json=body, headers={"Authorization": f"Bearer {self.token(who)}"}
                )
                if answer.status_code == until:
                    found: dict[str, Any] = answer.json()
                    return found
                assert time.monotonic() < deadline, f"{method} {path}: {answer.status_code} {answer.text}"
                await asyncio.sleep(0.1)

    async def use(self, subscription: str, product: str, meter: str, count: int, *, first: int = 0) -> None:
        """Publish usage of ``count`` resources now, numbered from ``first``.

        For a peak meter it is one level of ``count``.
        """
        now = datetime.now(UTC)
        peak = PRODUCTS[product][2] == "peak"
        for number in [first] if peak else range(first, first + count):
            data = UsageRecorded.model_validate(
                {"product": product, "meter": meter, "quantity": count if peak else 1, "resource": f"r{number:06}"}
            )
            event = Event[UsageRecorded].of(
                data, id=str(uuid4()), source=f"/platforms/{product}", time=now, subject=subscription
            )
            topic = f"{self.topic_prefix}usage.events"
            await self.producer.send(topic, event.encode(), key=subscription.encode())
        await self.producer.flush()

    async def consumed(self, subscription: str, product: str, units: int) -> None:
        """Wait until the API shows that ``product`` has consumed exactly ``units``."""
        deadline = time.monotonic() + 30
        while True:
            body = await self.ask("vendor", "GET", f"/v1/subscriptions/{subscription}")
            shown = {one["product"]: one["consumed"] for one in body["products"]}
            if shown.get(product) == units:
                return
            assert time.monotonic() < deadline, f"{product} shows {shown}, not {units}"
            await asyncio.sleep(0.1)


@asynccontextmanager
async def running(admin_dsn: str, kafka: str, folder: Path) -> AsyncIterator[Stack]:
    """Run the whole product within the block, with databases and topics of its own."""
    prefix = f"b{uuid4().hex[:8]}."
    await create_topics(kafka, prefix, [replace(topic, partitions=min(topic.partitions, 3)) for topic in every_topic()])
    port, oidc_port = free_port(), free_port()
    url, issuer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{oidc_port}"
    databases = {name: await create_database(admin_dsn, name) for name in SERVICES}
    issuer = Issuer.load_or_create(issuer_url, folder / "oidc.jwk")
    own = {
        "reporting": {
            "http_port": str(port),
            "oidc_issuer": issuer_url,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
            "public_url": url,
            "session_secret": "browser-test-session-secret-browser-test",
        },
        "metering": {"snapshot_interval_seconds": "0.1"},
    }
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    stack = Stack(url, issuer, producer, prefix)
    try:
        await producer.start()
        stack.processes["oidc"] = _provider(issuer_url, oidc_port, url, folder)
        for name in SERVICES:
            env = service_env(name, dsn=databases[name], kafka=kafka, topic_prefix=prefix, **own.get(name, {}))
            stack.processes[name] = ServiceProcess(name, env, log=folder / f"{name}.log")
        await asyncio.gather(*(stack.processes[name].wait_ready() for name in SERVICES))
        yield stack
    finally:
        for process in stack.processes.values():
            process.kill()
        await producer.stop()
        for dsn in databases.values():
            await drop_database(admin_dsn, dsn)


def _provider(issuer_url: str, port: int, page: str, folder: Path) -> ServiceProcess:
    env = {
        "UNITPOOL_OIDC_ISSUER": issuer_url,
        "UNITPOOL_OIDC_PORT": str(port),
        "UNITPOOL_OIDC_HTTP_PORT": str(port),
        "UNITPOOL_OIDC_KEY_FILE": str(folder / "oidc.jwk"),
        "UNITPOOL_OIDC_CLIENT_ID": CLIENT_ID,
        "UNITPOOL_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "UNITPOOL_OIDC_REDIRECT_URIS": f"{page}/auth/callback",
        "UNITPOOL_OIDC_SIGNED_OUT_URIS": f"{page}/",
        "PATH": os.environ.get("PATH", ""),
    }
    return ServiceProcess("oidc", env, module="deploy.local.oidc", log=folder / "oidc.log")


async def sell(stack: Stack, name: str, *, contact: str = "primary", units: int = 1000, model: str = "flex") -> str:
    """Create an account with a subscription; return the subscription's id.

    A ``flex`` subscription has a lot and all products.
    """
    account = f"{name.lower().replace(' ', '-')}-{uuid4().hex[:6]}"
    known = person(contact)
    assert known is not None
    await stack.ask("vendor", "POST", "/v1/accounts", {"id": account, "name": name})
    if model == "flex":
        await stack.ask("vendor", "PUT", f"/v1/accounts/{account}/flex", {"enabled": True, "reason": "Ordered"})
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)
    created = await stack.ask(
        "vendor",
        "POST",
        "/v1/subscriptions",
        {
            "account": account,
            "name": name,
            "model": model,
            "start": start.isoformat(),
            "end": (start + timedelta(days=365)).isoformat(),
            "primary_contact": {"email": known.email, "name": known.name},
        },
    )
    subscription = str(created["id"])
    if model == "flex":
        path = f"/v1/subscriptions/{subscription}"
        await stack.ask("vendor", "POST", f"{path}/purchases", {"units": units, "order_reference": "PO-1"})
        for product in PRODUCTS:
            await stack.ask("vendor", "POST", f"{path}/products", {"product": product})
    return subscription


async def fill_catalogue(stack: Stack) -> None:
    """Create the products of ``PRODUCTS``, each with its meter."""
    for product, (name, meter, aggregation, units, block) in PRODUCTS.items():
        await stack.ask("vendor", "POST", "/v1/catalogue/products", {"id": product, "name": name})
        await stack.ask(
            "vendor",
            "POST",
            f"/v1/catalogue/products/{product}/meters",
            {"id": meter, "name": meter.title(), "aggregation": aggregation, "units": units, "block": block},
        )
