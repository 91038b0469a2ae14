"""The whole product, used through its APIs and topics only.

Four service processes.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from aiokafka import AIOKafkaProducer

from deploy.local.environment import CLIENT_ID
from deploy.local.oidc.tokens import Issuer
from deploy.local.people import PEOPLE, DemoPerson, person
from deploy.local.ports import free_port
from shared.events.topics import USAGE, ServiceName
from tests.support.drivers.processes import ServiceProcess, service_env, start_service
from tests.support.servers.sign_in import SignIn

SERVICES: tuple[ServiceName, ...] = ("allocation", "metering", "alerts", "reporting")
CLIENT_SECRET = "test-client-secret"


@dataclass
class Product:
    """The four services with their databases, topics and sign-in service."""

    databases: Mapping[ServiceName, str]
    kafka: str
    topic_prefix: str
    logs: Path
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    replicas: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Settings of further metering processes, by name."""
    services: dict[str, ServiceProcess] = field(default_factory=dict)

    async def __aenter__(self) -> "Product":
        reporting_port = free_port()
        self.sign_in = SignIn(
            free_port(), redirect_to=f"http://localhost:{reporting_port}", client_secret=CLIENT_SECRET
        )
        await self.sign_in.start()
        for name in SERVICES:
            more = dict(self.settings.get(name, {}))
            if name == "alerts":
                more |= {"allow_private_webhooks": "true", "retry_first_seconds": "1"}
            if name == "reporting":
                more |= {
                    "http_port": str(reporting_port),
                    "public_url": f"http://localhost:{reporting_port}",
                    "metering_url": self.services["metering"].url,
                    "oidc_issuer": self.sign_in.issuer.issuer,
                    "oidc_audience": "unitpool",
                    "oidc_client_id": CLIENT_ID,
                    "oidc_client_secret": CLIENT_SECRET,
                    "session_secret": "a-session-secret-for-tests-of-enough-length",
                }
            self.services[name] = self._start(name, name, more)
        for replica, own in self.replicas.items():
            self.services[replica] = self._start("metering", replica, own)
        await asyncio.gather(*(service.wait_ready(180) for service in self.services.values()))
        self.http = httpx.AsyncClient(timeout=30)
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self.kafka, acks="all", enable_idempotence=True, linger_ms=5, max_batch_size=256 * 1024
        )
        await self.producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        await self.producer.stop()
        for service in self.services.values():
            service.kill()
        await self.sign_in.stop()

    def _start(self, service: ServiceName, process: str, more: Mapping[str, str]) -> ServiceProcess:
        dsn = self.databases[service]
        env = service_env(service, dsn=dsn, kafka=self.kafka, topic_prefix=self.topic_prefix, **more)
        return start_service(service, env, log=self.logs / f"{process}.log")

    @property
    def issuer(self) -> Issuer:
        """An issuer whose tokens reporting accepts."""
        return self.sign_in.issuer

    async def call(
        self, who: str | DemoPerson, method: str, path: str, body: object = None, **headers: str
    ) -> httpx.Response:
        """Send a request to the administrators' API; ``headers`` have ``_`` for ``-``."""
        one = person(who) if isinstance(who, str) else who
        assert one is not None, who
        token = self.issuer.access_token(one)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.services['reporting'].url}{path}"
        return await self.http.request(method, url, json=body, headers={"Authorization": f"Bearer {token}", **sent})

    async def done(
        self, who: str | DemoPerson, method: str, path: str, body: object = None, **headers: str
    ) -> dict[str, Any]:
        """Send a request that must succeed.

        A write has an idempotency key, and is repeated until it has an outcome.
        """
        headers.setdefault("Idempotency_Key", str(uuid4()))
        deadline = time.monotonic() + 90
        while True:
            try:
                answer = await self.call(who, method, path, body, **headers)
                if answer.status_code == 200 or time.monotonic() > deadline:
                    break
                if answer.status_code not in (202, 503, 429):
                    break
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.2)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        body_out: dict[str, Any] = answer.json()
        return body_out

    async def publish(self, key: str, value: bytes) -> None:
        """Send one usage record to Kafka, and wait for the acknowledgement."""
        await self.producer.send_and_wait(f"{self.topic_prefix}{USAGE.name}", value, key=key.encode())

    async def overview(self, subscription: str, who: str = "primary") -> dict[str, Any]:
        """The subscription as its primary contact sees it."""
        return await self.done(who, "GET", f"/v1/subscriptions/{subscription}")


async def until(
    condition: Callable[[], Awaitable[Any]], what: str, *, timeout_seconds: float = 30, every_seconds: float = 0.1
) -> Any:
    """Wait until ``condition`` returns a true value; return it."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        result = await condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"within {timeout_seconds} s it did not come to this: {what}"
        await asyncio.sleep(every_seconds)


@dataclass(frozen=True, slots=True)
class Customer:
    """An account with a flex subscription."""

    account: str
    subscription: str
    start: datetime


async def sell(
    product: Product,
    account: str,
    contact: DemoPerson,
    *,
    start: datetime,
    end: datetime,
    units: int,
) -> Customer:
    """Create an account with flex, a subscription and a lot, as the vendor."""
    await product.done("vendor", "POST", "/v1/accounts", {"id": account, "name": account.title()})
    await product.done("vendor", "PUT", f"/v1/accounts/{account}/flex", {"enabled": True, "reason": "contract"})
    made = await product.done(
        "vendor",
        "POST",
        "/v1/subscriptions",
        {
            "account": account,
            "name": f"{account.title()} Flex",
            "model": "flex",
            "start": start.isoformat(),
            "end": end.isoformat(),
            "primary_contact": {"email": contact.email, "name": contact.name},
        },
    )
    subscription = str(made["id"])
    await product.done(
        "vendor",
        "POST",
        f"/v1/subscriptions/{subscription}/purchases",
        {"units": units, "order_reference": f"PO-{account}"},
    )
    return Customer(account, subscription, start)


PRIMARY, STRANGER = PEOPLE[0], PEOPLE[-1]
