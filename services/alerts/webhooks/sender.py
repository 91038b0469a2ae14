"""The sender of one webhook over HTTP, signed after Standard Webhooks.

See https://www.standardwebhooks.com. The host is resolved first, all its addresses are checked, and the connection goes
to a checked address, so that a name which resolves differently later (DNS rebinding) has no effect. TLS still verifies
the name.

Nothing is shared between two attempts, so one receiver cannot affect another: each has its own transport (no cookies,
no kept connections, no redirects, no proxies of the environment).
"""

import asyncio
import socket
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

import httpx
from standardwebhooks import Webhook

from services.alerts.domain.addresses import Address, fault_of_url, is_public
from services.alerts.webhooks.resolver import BusyError, Resolver

ERROR_LENGTH = 200
ADDRESSES_MAX = 8
CONNECT_SECONDS = 2.0
"""Longest time to connect to one of several addresses before the next is tried."""

_HEADERS = {
    "user-agent": "unitpool-webhooks/1",
    "content-type": "application/json",
    "accept": "*/*",
    "accept-encoding": "identity",
    "connection": "close",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one attempt.

    ``error`` is ``None`` if the receiver accepted it. With ``is_final`` it is not retried. ``error`` never contains
    what the receiver answered, which may repeat the path, a secret.
    """

    error: str | None = None
    is_final: bool = False


class RefusedAddressError(Exception):
    """The address may not be used for webhooks. The message says why."""


class WebhookSender:
    """Sends signed webhooks, each over a connection of its own."""

    def __init__(self, *, timeout_seconds: float, allow_private: bool, resolver: Resolver | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._allow_private = allow_private
        self._resolver = resolver or Resolver()
        self._tls = httpx.create_ssl_context(trust_env=False)

    async def send(self, url: str, secret: str, *, customer: str, id: str, body: str, now: datetime) -> Answer:
        """Make one attempt to deliver ``body``, signed with ``secret``.

        ``id`` is the same in all attempts of a delivery, so that a receiver can recognise repeats.
        """
        headers = {
            "webhook-id": id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(id, now, body),
        }
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._post(url, customer, headers, body.encode())
        except (TimeoutError, httpx.TimeoutException):
            return Answer(f"no answer within {self._timeout_seconds:g} s")
        except (RefusedAddressError, BusyError) as error:
            return Answer(str(error))
        except socket.gaierror:
            return Answer("the host's name cannot be resolved")
        except httpx.ConnectError as error:
            return Answer(f"ConnectError: {error}"[:ERROR_LENGTH])
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Answer(type(error).__name__)  # the message may quote the address, or the receiver

    async def _post(self, url: str, customer: str, headers: dict[str, str], body: bytes) -> Answer:
        if fault := fault_of_url(url, allow_private=self._allow_private):
            raise RefusedAddressError(fault)
        target = httpx.URL(url)
        addresses = await self._checked_addresses(customer, target.raw_host.decode())
        for address in addresses[:-1]:
            try:
                return await self._post_to(address, target, headers, body, self._share(len(addresses)))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # nothing was sent: the next address is tried in the same attempt
        return await self._post_to(addresses[-1], target, headers, body, self._timeout_seconds)

    def _share(self, count: int) -> float:
        return min(CONNECT_SECONDS, self._timeout_seconds / count)

    async def _post_to(
        self, address: Address, target: httpx.URL, headers: dict[str, str], body: bytes, connect_seconds: float
    ) -> Answer:
        timeout = httpx.Timeout(self._timeout_seconds, connect=connect_seconds)
        request = httpx.Request(
            "POST",
            target.copy_with(host=str(address)),
            headers={"host": target.netloc.decode(), **_HEADERS, **headers},
            content=body,
            extensions={"sni_hostname": target.raw_host.decode(), "timeout": timeout.as_dict()},
        )
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
        async with httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits) as transport:
            response = await transport.handle_async_request(request)
            await response.aclose()
        if response.is_success:
            return Answer()
        return Answer(f"HTTP {response.status_code}", is_final=response.status_code == HTTPStatus.GONE)

    async def _checked_addresses(self, customer: str, host: str) -> list[Address]:
        addresses = await self._resolver.resolve(customer, host)
        if not addresses:
            raise RefusedAddressError("the host has no address")
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise RefusedAddressError("the host's address is not one of the public internet")
        return addresses[:ADDRESSES_MAX]
