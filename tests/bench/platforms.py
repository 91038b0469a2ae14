"""The products' platforms: their ingest keys, and their requests to metering."""

import random

from tests.bench.http_client import request
from tests.bench.workload import PRODUCTS, Workload, active, product, subscription
from tests.support.drivers.metering_clients import add_key

_BATCH = "application/cloudevents-batch+json"
_ONE = "application/cloudevents+json"


async def add_keys(dsn: str) -> None:
    """Insert a key for every product."""
    for number in range(PRODUCTS):
        await add_key(dsn, key(number), product(number))


def key(of: int) -> str:
    """Return the key of a product, by its number."""
    return f"bench-key-of-product-{of:02d}"


def batches(workload: Workload, size: int, first: int) -> list[list[bytes]]:
    """Return the workload's events by request, each of one product.

    Subscriptions are random among those that use the product.
    """
    rng = random.Random(workload.seed + first)
    users: list[list[int]] = [[] for _ in range(PRODUCTS)]
    for chosen in range(workload.subscriptions):
        for of in active(chosen):
            users[of].append(chosen)
    made = []
    for start in range(first, first + workload.events, size):
        of = rng.randrange(PRODUCTS)
        made.append([workload.event(rng, start + n, rng.choice(users[of]), of) for n in range(size)])
    return made


def post(events: list[bytes], of: int) -> bytes:
    """Build a request ``POST /v1/usage`` with these events of a product."""
    single = len(events) == 1
    body = events[0] if single else b"[" + b",".join(events) + b"]"
    return request("POST", "/v1/usage", token=key(of), content_type=_ONE if single else _BATCH, body=body)


def ask_entitlement(rng: random.Random, subscriptions: int) -> bytes:
    """Build a request ``GET /v1/entitlements`` for a random use of a product."""
    chosen = rng.randrange(subscriptions)
    of = rng.choice(active(chosen))
    path = f"/v1/entitlements?subscription={subscription(chosen)}&product={product(of)}&units=5"
    return request("GET", path, token=key(of))
