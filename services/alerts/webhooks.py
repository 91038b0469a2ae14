"""One webhook over HTTP, signed after Standard Webhooks (https://www.standardwebhooks.com).

The host is resolved first, every address it has is checked, and the connection goes to a checked address, so that a
name which resolves differently a moment later (DNS rebinding) leads nowhere. TLS still verifies the name.
"""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

import httpx
from standardwebhooks import Webhook

from services.alerts.domain.addresses import Address, fault_of_url, is_public

SNIPPET_LENGTH = 200
READ_AT_MOST_BYTES = 2048

Resolve = Callable[[str, int], Awaitable[list[Address]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one attempt. ``error`` is ``None`` when it was accepted; ``is_final``: trying again is no use."""

    error: str | None = None
    is_final: bool = False


class RefusedAddressError(Exception):
    """We do not send there. The message says why."""


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def encode(payload: dict[str, Any]) -> str:
    """The body: what is signed is exactly what is sent."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


class WebhookSender:
    """Sends webhooks: no redirects, no proxies, no connection shared between receivers."""

    def __init__(self, *, timeout_seconds: float, allow_private: bool, resolve: Resolve = resolve) -> None:
        self._timeout_seconds = timeout_seconds
        self._allow_private = allow_private
        self._resolve = resolve
        self._client = httpx.AsyncClient(
            timeout=timeout_seconds,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
            headers={"user-agent": "unitpool-webhooks/1", "accept-encoding": "identity"},
        )

    async def close(self) -> None:
        """Let go of what is open."""
        await self._client.aclose()

    async def send(self, url: str, secret: str, *, id: str, payload: dict[str, Any], now: datetime) -> Answer:
        """One attempt. ``id`` stays the same over all attempts of a delivery, so that a receiver can tell repeats."""
        body = encode(payload)
        headers = {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(id, now, body),
        }
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._post(url, headers, body.encode())
        except TimeoutError:
            return Answer(f"no answer within {self._timeout_seconds:g} s")
        except RefusedAddressError as error:
            return Answer(str(error))
        except socket.gaierror:
            return Answer("the host's name cannot be resolved")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Answer(f"{type(error).__name__}: {error}"[:SNIPPET_LENGTH])

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        if fault := fault_of_url(url, allow_private=self._allow_private):
            raise RefusedAddressError(fault)
        target = httpx.URL(url)
        address = await self._checked_address(target)
        request = self._client.build_request(
            "POST",
            target.copy_with(host=str(address)),
            headers={**headers, "host": target.netloc.decode()},
            content=body,
            extensions={"sni_hostname": target.raw_host.decode()},
        )
        response = await self._client.send(request, stream=True)
        try:
            if response.is_success:
                return Answer()
            return Answer(
                f"HTTP {response.status_code}: {await _snippet(response)}".rstrip(": "),
                is_final=response.status_code == HTTPStatus.GONE,
            )
        finally:
            await response.aclose()

    async def _checked_address(self, target: httpx.URL) -> Address:
        port = target.port or (443 if target.scheme == "https" else 80)
        addresses = await self._resolve(target.host, port)
        if not addresses:
            raise RefusedAddressError("the host has no address")
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise RefusedAddressError("the host's address is not one of the public internet")
        return addresses[0]


async def _snippet(response: httpx.Response) -> str:
    """The beginning of a refusal, for whoever must find out why; never more than a little is read."""
    read = b""
    async for chunk in response.aiter_raw():
        read += chunk
        if len(read) >= READ_AT_MOST_BYTES:
            break
    text = read[:READ_AT_MOST_BYTES].decode(errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:SNIPPET_LENGTH]
