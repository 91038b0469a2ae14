"""The webhook sender: accepted addresses, isolated receivers and name servers."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest

from services.alerts.domain.addresses import Address
from services.alerts.webhooks.resolver import Resolver
from services.alerts.webhooks.sender import Answer, WebhookSender
from tests.support.drivers.runtime import until
from tests.support.servers.webhook_receiver import SECRET, Receiver


async def _send(sender: WebhookSender, url: str) -> Answer:
    body = '{"type":"alert.raised"}'
    return await sender.send(url, SECRET, customer="acme", id="d-1", body=body, now=datetime.now(UTC))


def _sender(address: str, *, allow_private: bool, hosts: list[str] | None = None) -> WebhookSender:
    def look_up(host: str) -> list[Address]:
        (hosts if hosts is not None else []).append(host)
        return [ip_address("8.8.8.8"), ip_address(address)] if not allow_private else [ip_address(address)]

    return WebhookSender(timeout_seconds=2, allow_private=allow_private, resolver=Resolver(look_up))


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "10.0.0.1"])
async def test_a_webhook_is_refused_when_its_name_resolves_to_a_private_address(
    receiver: Receiver, address: str
) -> None:
    port = urlsplit(receiver.url).port
    answer = await _send(_sender(address, allow_private=False), f"http://hooks.example:{port}/hook")
    assert answer == Answer("the host's address is not one of the public internet")
    assert receiver.received == []


async def test_the_sender_connects_to_the_checked_address_with_the_host_name(receiver: Receiver) -> None:
    hosts: list[str] = []
    port = urlsplit(receiver.url).port
    sender = _sender("127.0.0.1", allow_private=True, hosts=hosts)
    assert await _send(sender, f"http://does-not-resolve.invalid:{port}/hook") == Answer()
    assert hosts == ["does-not-resolve.invalid"]
    assert receiver.hosts == [f"does-not-resolve.invalid:{port}"]


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.replies.append(307)
    answer = await _send(WebhookSender(timeout_seconds=2, allow_private=True), receiver.url)
    assert answer.error == "HTTP 307"
    assert len(receiver.received) == 1


async def test_an_attempt_times_out_when_the_receiver_is_silent(receiver: Receiver) -> None:
    receiver.replies.append("silent")
    answer = await _send(WebhookSender(timeout_seconds=0.3, allow_private=True), receiver.url)
    assert answer.error == "no answer within 0.3 s"


async def test_an_attempt_fails_with_a_reason_when_the_connection_is_refused() -> None:
    answer = await _send(WebhookSender(timeout_seconds=2, allow_private=True), "http://127.0.0.1:1/")
    assert answer.error is not None
    assert answer.error.startswith("ConnectError")
    answer = await _send(WebhookSender(timeout_seconds=2, allow_private=True), "http://nowhere.invalid/")
    assert answer.error == "the host's name cannot be resolved"


async def test_the_next_address_of_a_name_is_tried_in_the_same_attempt(receiver: Receiver) -> None:
    """The first addresses refuse the connection, or do not answer at all."""
    for dead in ("::1", "127.0.0.2", "240.0.0.1"):
        addresses = [ip_address(dead), ip_address("127.0.0.1")]
        resolver = Resolver(partial(lambda found, _: found, addresses))
        sender = WebhookSender(timeout_seconds=4, allow_private=True, resolver=resolver)
        assert await _send(sender, f"http://hooks.example:{urlsplit(receiver.url).port}/") == Answer()
    assert len(receiver.received) == 3


async def test_no_further_address_is_tried_when_the_request_was_sent(receiver: Receiver) -> None:
    receiver.replies.append(500)
    resolver = Resolver(lambda _: [ip_address("127.0.0.1")] * 3)
    sender = WebhookSender(timeout_seconds=4, allow_private=True, resolver=resolver)
    answer = await _send(sender, f"http://hooks.example:{urlsplit(receiver.url).port}/")
    assert answer == Answer("HTTP 500")
    assert len(receiver.received) == 1


async def test_no_cookie_reaches_another_receiver_when_one_sets_it(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    sender = WebhookSender(timeout_seconds=2, allow_private=True)
    many = "".join(f"Set-Cookie: c{number}={'x' * 3900}; Path=/\r\n" for number in range(24))
    alternative = 'Alt-Svc: h2=":1"; ma=3600\r\nStrict-Transport-Security: max-age=3600\r\n'
    for headers in ("Set-Cookie: sid=x; Path=/\r\n", many, alternative, "Connection: keep-alive\r\n"):
        receiver.headers = headers
        assert await _send(sender, receiver.url) == Answer()
    receiver.headers = ""
    assert await _send(sender, receiver.url) == Answer()
    assert all("cookie" not in headers for headers in receiver.request_headers)
    assert all(headers["connection"] == "close" for headers in receiver.request_headers)


@pytest.mark.parametrize("status", [404, 500, 302])
async def test_an_error_has_neither_the_address_nor_the_answer(receiver: Receiver, status: int) -> None:
    receiver.replies.append(status)
    answer = await _send(WebhookSender(timeout_seconds=2, allow_private=True), f"{receiver.url}&token=SECRET")
    assert answer == Answer(f"HTTP {status}")


async def test_an_error_has_no_part_of_the_answer_when_it_is_not_http() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        writer.write(line)
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await _send(WebhookSender(timeout_seconds=2, allow_private=True), f"http://127.0.0.1:{port}/SECRET")
    assert answer == Answer("RemoteProtocolError")


class HangingLookup:
    """A look-up that hangs for all names but one, until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.looked_up: list[str] = []

    def __call__(self, host: str) -> list[Address]:
        self.looked_up.append(host)
        if host != "well.example":
            self.released.wait(60)
        return [ip_address("127.0.0.1")]


@pytest.fixture
def silent() -> Iterator[HangingLookup]:
    one = HangingLookup()
    yield one
    one.released.set()


async def test_other_customers_are_on_time_when_a_name_server_hangs(receiver: Receiver, silent: HangingLookup) -> None:
    port = urlsplit(receiver.url).port
    sender = WebhookSender(timeout_seconds=30, allow_private=True, resolver=Resolver(silent))

    async def sends(customer: str, host: str) -> Answer:
        return await sender.send(
            f"http://{host}:{port}/", SECRET, customer=customer, id="d-1", body="{}", now=datetime.now(UTC)
        )

    hanging = [asyncio.create_task(sends("acme", f"hangs-{n % 10}.example")) for n in range(40)]
    await until(lambda: len(silent.looked_up) == 10, what="ten look-ups")
    async with asyncio.timeout(1):
        assert await sends("beta", "127.0.0.1") == Answer()
        assert await sends("beta", "well.example") == Answer()
        assert await sends("acme", "well.example") == Answer()
    assert len(silent.looked_up) == 12  # one look-up per name, for all that wait for it
    more = [asyncio.create_task(sends("acme", f"more-{n}.example")) for n in range(30)]
    refused, _ = await asyncio.wait(more, return_when=asyncio.FIRST_COMPLETED)
    assert "name servers" in str(refused.pop().result().error)
    async with asyncio.timeout(1):
        assert await sends("beta", "well.example") == Answer()
    assert len(silent.looked_up) == 12 + 6 + 1  # sixteen threads of acme, and beta's
    silent.released.set()
    assert set(await asyncio.gather(*hanging)) == {Answer()}
