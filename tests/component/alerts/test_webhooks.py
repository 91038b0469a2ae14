"""Where the sender connects to, and where it refuses to."""

from datetime import UTC, datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest

from services.alerts.domain.addresses import Address
from services.alerts.webhooks import Answer, WebhookSender
from tests.component.alerts.receiver import SECRET, Receiver


async def _send(sender: WebhookSender, url: str) -> Answer:
    try:
        return await sender.send(url, SECRET, id="d-1", payload={"type": "alert.raised"}, now=datetime.now(UTC))
    finally:
        await sender.close()


def _sender(address: str, *, allow_private: bool, asked: list[str] | None = None) -> WebhookSender:
    async def resolve(host: str, port: int) -> list[Address]:
        (asked if asked is not None else []).append(f"{host}:{port}")
        return [ip_address("8.8.8.8"), ip_address(address)] if not allow_private else [ip_address(address)]

    return WebhookSender(timeout_seconds=2, allow_private=allow_private, resolve=resolve)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "10.0.0.1"])
async def test_a_name_that_leads_into_our_network_is_refused(receiver: Receiver, address: str) -> None:
    port = urlsplit(receiver.url).port
    answer = await _send(_sender(address, allow_private=False), f"http://hooks.example:{port}/hook")
    assert answer == Answer("the host's address is not one of the public internet")
    assert receiver.received == []


async def test_it_connects_to_the_address_that_was_checked_and_names_the_host(receiver: Receiver) -> None:
    asked: list[str] = []
    port = urlsplit(receiver.url).port
    sender = _sender("127.0.0.1", allow_private=True, asked=asked)
    assert await _send(sender, f"http://does-not-resolve.invalid:{port}/hook") == Answer()
    assert asked == [f"does-not-resolve.invalid:{port}"]
    assert receiver.hosts == [f"does-not-resolve.invalid:{port}"]


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.moods.append(307)
    answer = await _send(WebhookSender(timeout_seconds=2, allow_private=True), receiver.url)
    assert answer.error is not None
    assert answer.error.startswith("HTTP 307")
    assert len(receiver.received) == 1


async def test_a_silent_receiver_is_left_in_time(receiver: Receiver) -> None:
    receiver.moods.append("silent")
    answer = await _send(WebhookSender(timeout_seconds=0.3, allow_private=True), receiver.url)
    assert answer.error in {"no answer within 0.3 s", "ReadTimeout: "}


async def test_nobody_there_is_an_answer_too() -> None:
    answer = await _send(WebhookSender(timeout_seconds=2, allow_private=True), "http://127.0.0.1:1/")
    assert answer.error is not None
    assert answer.error.startswith("ConnectError")
    answer = await _send(WebhookSender(timeout_seconds=2, allow_private=True), "http://nowhere.invalid/")
    assert answer.error == "the host's name cannot be resolved"
