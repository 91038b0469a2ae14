"""Driver of reporting and allocation as processes, with real Kafka between them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.support.builders.published import PRIMARY, VENDOR
from tests.support.drivers.processes import ServiceProcess
from tests.support.servers.token_issuer import Issuer


class ReportingProcesses:
    """Sends people's requests to reporting's process."""

    def __init__(
        self, issuer: Issuer, service: ServiceProcess, env: dict[str, str], allocation: ServiceProcess | None = None
    ) -> None:
        self.service = service
        self._allocation = allocation
        self.env = env
        self._issuer = issuer
        self._http = httpx.AsyncClient(timeout=20)

    async def ask(self, method: str, path: str, who: str = VENDOR, **arguments: Any) -> httpx.Response:
        """Send a request with the token of a person."""
        token = self._issuer.token(who, vendor=who == VENDOR)
        headers = {"authorization": f"Bearer {token}", **arguments.pop("headers", {})}
        return await self._http.request(method, f"{self.service.url}{path}", headers=headers, **arguments)

    async def done(self, path: str, body: Any, who: str = VENDOR, method: str = "POST") -> Any:
        """Send a write that must succeed; return the answer's body."""
        answer = await self.ask(method, path, who, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, path: str, body: Any, who: str = VENDOR, **headers: str) -> Any:
        """Send a write that must be refused; return the problem."""
        answer = await self.ask("POST", path, who, json=body, headers=headers)
        assert 400 <= answer.status_code < 500, answer.text
        return answer.json()

    @asynccontextmanager
    async def watch(self, path: str, who: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Open a live stream, and yield its events."""
        headers = {"authorization": f"Bearer {self._issuer.token(who)}"}
        async with self._http.stream("GET", f"{self.service.url}{path}", headers=headers) as answer:
            assert answer.status_code == 200
            yield (json.loads(line[5:]) async for line in answer.aiter_lines() if line.startswith("data:"))

    @property
    def allocation(self) -> ServiceProcess:
        """Allocation's process; fails if none was started."""
        assert self._allocation is not None
        return self._allocation

    async def until_streams(self, count: int) -> None:
        """Wait until this number of live streams is open."""
        async with asyncio.timeout(20):
            while f"unitpool_reporting_live_streams {float(count)}" not in (await self.ask("GET", "/metrics")).text:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def run(self, command: str) -> str:
        """Run a command of reporting beside the process; return its output."""
        return await self.service.run(command)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


async def sell_subscription(processes: ReportingProcesses) -> str:
    """Create an account with 1,000 units and two products; return the id.

    The id is the subscription's.
    """
    await processes.done("/v1/accounts", {"id": "acme", "name": "Acme"})
    await processes.done("/v1/accounts/acme/flex", {"enabled": True, "reason": "ordered"}, method="PUT")
    for product in ("scan", "hub"):
        await processes.done("/v1/catalogue/products", {"id": product, "name": product.title()})
        meter = {"id": "host", "name": "Hosts", "aggregation": "unique", "units": 1, "block": 1}
        await processes.done(f"/v1/catalogue/products/{product}/meters", meter)
    contact = {"email": PRIMARY, "name": "Paula"}
    body = {"account": "acme", "name": "Acme Flex", "model": "flex", "primary_contact": contact}
    times = {"start": "2026-01-01T00:00:00Z", "end": "2028-01-01T00:00:00Z"}
    subscription = (await processes.done("/v1/subscriptions", {**body, **times}))["id"]
    await processes.done(f"/v1/subscriptions/{subscription}/purchases", {"units": 1000, "order_reference": "PO-1"})
    for product in ("scan", "hub"):
        await processes.done(f"/v1/subscriptions/{subscription}/products", {"product": product}, PRIMARY)
    return str(subscription)
