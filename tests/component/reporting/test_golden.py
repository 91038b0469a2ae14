"""The API's answers, byte for byte: refactorings must not change them.

To change an answer on purpose, delete its file in ``golden``, run this test, and review what it writes.
"""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.builders.full_subscription import fill
from tests.support.builders.people import person_id
from tests.support.builders.published import (
    ALLOCATOR,
    PRIMARY,
    VENDOR,
    VIEWER,
)
from tests.support.drivers.reporting import ReportingDriver

GOLDEN = Path(__file__).with_name("golden")
COMMAND = UUID("0b8a7c5e-93a1-4a55-8a50-6f0b1c2d3e4f")
SUB = "/v1/subscriptions/sub-1"
READS: dict[str, tuple[str, str]] = {
    "overview": (SUB, PRIMARY),
    "overview_of_nothing": ("/v1/subscriptions/sub-2", VENDOR),
    "subscriptions": ("/v1/subscriptions", VENDOR),
    "purchases": (f"{SUB}/purchases", PRIMARY),
    "usage": (f"{SUB}/usage", VIEWER),
    "usage_of_one": (f"{SUB}/usage?from=2026-01-01T00:00:00Z&product=hub", VIEWER),
    "alerts": (f"{SUB}/alerts", VIEWER),
    "channels": (f"{SUB}/alert-channels", VIEWER),
    "allocations": (f"{SUB}/allocations", VIEWER),
    "grants": (f"{SUB}/grants", PRIMARY),
    "granted": (f"{SUB}/grants/{VIEWER}", PRIMARY),
    "me": ("/v1/me", ALLOCATOR),
    "me_vendor": ("/v1/me", VENDOR),
    "accounts": ("/v1/accounts", VENDOR),
    "account": ("/v1/accounts/acme", PRIMARY),
    "people": ("/v1/accounts/acme/people", PRIMARY),
    "person": (f"/v1/accounts/acme/people/{VIEWER}", PRIMARY),
    "roles": ("/v1/accounts/acme/roles", PRIMARY),
    "role": ("/v1/accounts/acme/roles/scan-reader", PRIMARY),
    "members": ("/v1/accounts/acme/roles/scan-reader/members", PRIMARY),
    "applications": ("/v1/applications", VIEWER),
    "application": ("/v1/applications/scan", PRIMARY),
    "products": ("/v1/catalogue/products", VIEWER),
    "product": ("/v1/catalogue/products/scan", VIEWER),
    "meters": ("/v1/catalogue/products/scan/meters", VIEWER),
    "rates": ("/v1/catalogue/products/scan/rates", VIEWER),
    "price_list": ("/v1/price-list", VIEWER),
    "ingest_keys": ("/v1/ingest-keys", VENDOR),
    "ingest_key": ("/v1/ingest-keys/key-1", VENDOR),
    "audit": ("/v1/audit", VENDOR),
    "quarantine": ("/v1/usage/quarantine", VENDOR),
    "quarantined": ("/v1/usage/quarantine/1", VENDOR),
    "quarantine_counts": ("/v1/usage/quarantine/counts", VENDOR),
    "quarantine_replays": ("/v1/usage/quarantine/replays", VENDOR),
    "quarantine_replay": ("/v1/usage/quarantine/replays/r-1", VENDOR),
    "reconciliation": ("/v1/usage/reconciliation", VENDOR),
}
WRITES: dict[str, tuple[str, str, str, Any]] = {
    "write_policy": ("PUT", f"{SUB}/products/scan/policy", PRIMARY, {"overage": "hard"}),
    "write_allocation": ("POST", f"{SUB}/allocations", PRIMARY, {"product": "scan", "units": 401}),
    "write_grants": ("PUT", f"{SUB}/grants/{VIEWER}", PRIMARY, {"grants": ["viewer"]}),
    "write_grants_unseen": ("PUT", f"{SUB}/grants/{VIEWER}", ALLOCATOR, {"grants": ["viewer"]}),
    "write_alert": ("POST", f"{SUB}/alerts/alert-1/acknowledge", PRIMARY, None),
    "write_channel": ("DELETE", f"{SUB}/alert-channels/c1", PRIMARY, None),
    "write_account": ("PUT", "/v1/accounts/acme/flex", VENDOR, {"enabled": True, "reason": "ordered"}),
    "write_person": ("PATCH", f"/v1/accounts/acme/people/{VIEWER}", PRIMARY, {"name": "Viktor"}),
    "write_role": ("PUT", f"/v1/accounts/acme/roles/scan-reader/members/{VIEWER}", PRIMARY, None),
    "write_product": ("POST", "/v1/catalogue/products/scan/retire", VENDOR, None),
    "write_ingest_key": ("DELETE", "/v1/ingest-keys/key-1", VENDOR, None),
    "write_price_list": (
        *("PUT", "/v1/price-list", VENDOR),
        {"currency": "EUR", "list_price_minor": 1000, "tiers": [{"from_units": 0, "discount_basis_points": 0}]},
    ),
}


@pytest.fixture
async def filled(empty: ReportingDriver) -> ReportingDriver:
    """Apply one of every resource that is answered."""
    await fill(empty)
    return empty


async def test_reads_answer_the_same_bytes(filled: ReportingDriver) -> None:
    answers = {name: await filled.ask("GET", path, who) for name, (path, who) in READS.items()}
    assert _different(answers) == []


async def test_writes_answer_the_same_bytes(filled: ReportingDriver) -> None:
    answers: dict[str, httpx.Response] = {}
    for number, (name, (method, path, who, body)) in enumerate(WRITES.items()):
        headers = {"Idempotency-Key": str(UUID(int=COMMAND.int + number))}
        asking = asyncio.create_task(filled.ask(method, path, who, json=body, headers=headers))
        sent = (await filled.sent(number + 1))[number]
        resource, version = (person_id(VIEWER), 1) if name == "write_person" else ("what-it-is", 3)
        await filled.decide(sent.command, resource=resource, version=version)
        answers[name] = await asking
    command = f"/v1/commands/{COMMAND}"
    answers["command"] = await filled.ask("GET", command, PRIMARY)
    assert _different(answers) == []


def _different(answers: dict[str, httpx.Response]) -> list[str]:
    """Return the names of answers that differ.

    A missing file is written, and counts as different.
    """
    different = []
    for name, answer in answers.items():
        assert answer.status_code == 200, (name, answer.text)
        file, given = GOLDEN / f"{name}.json", answer.content + b"\n"
        if not file.exists():
            file.write_bytes(given)
            different.append(name)
        elif file.read_bytes() != given:
            different.append(name)
    return different
