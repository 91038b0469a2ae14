"""Rules of webhooks: retries, permitted addresses and permissions."""

import json
from datetime import timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alerts.domain.access import Action, refusal_for
from services.alerts.domain.addresses import fault_of_url, is_public
from services.alerts.domain.schedule import GIVE_UP_AFTER, Backoff
from services.alerts.domain.webhook_body import webhook_body
from shared.events.alerts import shown_address
from tests.support.builders.alerts import NOW, WatchDriver, subscription
from tests.support.builders.people import person_id


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_to_four_hours_and_never_pass_them(attempts: int, chance: float) -> None:
    at = Backoff().next_attempt(attempts, NOW, NOW, chance)
    assert at is not None
    assert timedelta(seconds=2.5) <= at - NOW <= timedelta(hours=4)


def test_a_delivery_is_dead_after_72_hours() -> None:
    now, attempts = NOW, 0
    while True:
        attempts += 1
        again_at = Backoff().next_attempt(attempts, NOW, now, 0.5)
        if again_at is None:
            break
        now = again_at
    assert timedelta(hours=67) < now - NOW < GIVE_UP_AFTER
    assert 20 < attempts < 60


@pytest.mark.parametrize(
    "text",
    [
        "8.8.8.8",
        "2001:4860:4860::8888",
        "::ffff:8.8.8.8",
        "168.63.129.15",
        "168.63.129.17",
        "191.255.255.255",
        "192.0.1.0",
        "192.88.98.255",
        "192.88.100.0",
        "198.17.255.255",
        "2001:200::1",
        "3ffe:ffff::1",
        "3fff:1000::1",
    ],
)
def test_addresses_of_the_internet_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "192.0.0.0",
        "192.0.0.255",
        "192.0.0.9",
        "192.88.99.1",
        "168.63.129.16",
        "198.19.255.255",
        "203.0.113.7",
        "fec0::1",
        "feff::1",
        "3fff::1",
        "3fff:fff::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "5f00::1",
        "::127.0.0.1",
        "100::1",
        "4000::1",
    ],
)
def test_addresses_of_private_networks_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example/x?y=1",
        "http://hooks.example:8080",
        "https://8.8.8.8/x",
        "https://hooks.example./x",
        "http://134744072/",
    ],
)
def test_good_addresses_have_no_fault(url: str) -> None:
    assert fault_of_url(url, allow_private=False) is None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://hooks.example",
        "file:///etc/passwd",
        "hooks.example",
        "https://",
        "http://[::1",
        "http://x:99999/",
        "http://x:0/",
        "https://user:pass@hooks.example/",
        "https://hooks.example/#x",
        "https://hooks.example/a b",
        "https://hooks.example/\n",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/",
        "http://localhost./",
        "http://LOCALHOST/",
        "http://LocalHost:8080/x",
        "http://a.localhost/",
        "http://a.b.LOCALHOST./",
        "http://localhost.localdomain/",
        "http://ip6-localhost/",
        "http://intranet/",
        "http://printer.local/",
        "http://metadata.google.internal/",
        "http://192.88.99.1/",
        "http://168.63.129.16/",
        "http://[fec0::1]/",
        "http://[3fff::1]/",
        "http://192.0.0.8/",
        "http://127.0.0.1./",
        "http://127.1/",
        "http://0x7f.1/",
        "http://0X7F000001/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0/",
        "http://[::]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "http://%6cocalhost/",
        "http://localhost../",
        "http://1.2.3.4.5/",
        "http://8.8.8.08/",
        "http://hooks..example/",
        "http://hooks.example\\@localhost/",
        f"http://hooks.example/{'x' * 2000}",
    ],
)
def test_bad_addresses_are_refused(url: str) -> None:
    assert fault_of_url(url, allow_private=False)


@pytest.mark.parametrize(
    ("actor", "is_vendor", "deed", "code"),
    [
        ("paula@acme.example", False, "acknowledge", None),
        ("paula@acme.example", False, "channels", None),
        ("alan@acme.example", False, "acknowledge", None),
        ("alan@acme.example", False, "channels", "forbidden"),
        ("victor@acme.example", False, "acknowledge", "forbidden"),
        ("sam@globex.example", False, "acknowledge", "not_found"),
        ("vera@unitpool.example", True, "channels", None),
    ],
)
def test_an_action_is_refused_when_the_actor_lacks_the_grant(
    actor: str, is_vendor: bool, deed: Action, code: str | None
) -> None:
    refusal = refusal_for(subscription(), person_id(actor), is_vendor, deed)
    assert (refusal.code if refusal else None) == code


def test_a_webhook_has_the_value_when_raised_and_when_sent() -> None:
    alert = WatchDriver(subscription()).consume(850).raised[0]
    payload = json.loads(webhook_body(alert, 910, 1000, NOW + timedelta(days=2)))
    assert (payload["type"], payload["timestamp"]) == ("alert.raised", "2026-11-10T12:00:00Z")
    data = payload["data"]
    assert (data["value_at"], data["value_now"], data["window"]["days_left"]) == ("85.0", "91.0", 4)
    assert json.loads(webhook_body(alert, None, None, NOW))["data"]["value_now"] is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example/services/T0/B0/SECRET?k=1", "https://hooks.example/****?k=1"),
        ("https://hooks.example:8443/services/SECRET", "https://hooks.example:8443/****CRET"),
        ("https://hooks.example/short", "https://hooks.example/****"),
        ("https://hooks.example/", "https://hooks.example/"),
        ("https://hooks.example", "https://hooks.example"),
        ("https://hooks.example?token=SECRET12345", "https://hooks.example/****2345"),
        ("https://user:pass@hooks.example/services/SECRET", "https://hooks.example/****CRET"),
        ("http://[2001:db8::1]:80/services/SECRET", "http://[2001:db8::1]:80/****CRET"),
    ],
)
def test_an_address_is_shown_as_host_and_end(url: str, shown: str) -> None:
    assert shown_address(url) == shown
    assert shown_address(shown) == shown
