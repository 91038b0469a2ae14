"""The projection of allocation.events, as stored.

The consumer of the topic saves it; every process loads it on demand.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from services.metering.domain.catalogue import (
    SOURCES_KNOWN,
    Catalogue,
    ProductView,
    SubscriptionView,
    product_view_of,
    view_of,
)
from services.metering.domain.subscription import read_subscription
from shared.events.state import ProductState, SubscriptionState
from shared.runtime.postgres.pool import Connection, Pool, Row
from shared.runtime.postgres.row_decoding import decode_rows

_RAISE_VERSION = "UPDATE projection SET version = version + 1 RETURNING version"
_LOAD_VERSION = "SELECT version FROM projection"
_UPSERT_SUBSCRIPTION = """
INSERT INTO subscription AS s (id, state, version, projection_version, counts_until) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state, version = EXCLUDED.version,
    projection_version = EXCLUDED.projection_version, counts_until = EXCLUDED.counts_until
WHERE s.version < EXCLUDED.version
"""
_UPSERT_PRODUCT = """
INSERT INTO product AS p (id, state, version, projection_version) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state, version = EXCLUDED.version,
    projection_version = EXCLUDED.projection_version
WHERE p.version < EXCLUDED.version
"""
_INSERT_METERS = "INSERT INTO meter (product, id) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING"
_FIND_SUBSCRIPTION = "SELECT state FROM subscription WHERE id = $1"
_FIND_PRODUCT = "SELECT state FROM product WHERE id = $1"
_LOAD_SUBSCRIPTIONS = "SELECT id, number, state FROM subscription WHERE projection_version > $1"
_LOAD_PRODUCTS = "SELECT id, state FROM product WHERE projection_version > $1"
_LOAD_METERS = "SELECT number, product, id FROM meter WHERE product = ANY ($1)"
_LOAD_SOURCES = "SELECT number, id FROM source ORDER BY number LIMIT $1"
_INSERT_SOURCES = "INSERT INTO source (id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
_FIND_SOURCES = "SELECT number, id FROM source WHERE id = ANY ($1)"


async def load_version(connection: Connection | Pool) -> int:
    """Load the projection's version."""
    return int(await connection.fetchval(_LOAD_VERSION))


async def save(
    connection: Connection, subscriptions: Sequence[SubscriptionState], products: Sequence[ProductState]
) -> None:
    """Save newer states, and raise the projection's version by one.

    States that are not newer than the stored ones are ignored.
    """
    version = await connection.fetchval(_RAISE_VERSION)
    for product in products:
        await connection.execute(_UPSERT_PRODUCT, product.id, product.model_dump_json(), product.version, version)
        await connection.execute(_INSERT_METERS, product.id, [meter.meter for meter in product.meters])
    await connection.executemany(
        _UPSERT_SUBSCRIPTION,
        [(state.id, state.model_dump_json(), state.version, version, _until(state)) for state in subscriptions],
    )


def _until(state: SubscriptionState) -> datetime:
    """Return the time until which its usage may count."""
    end = max(term.end for term in state.all_terms)
    return end if state.cancelled_at is None else min(end, state.cancelled_at)


async def find_subscription(connection: Connection, subscription: str) -> SubscriptionState | None:
    """Load a subscription's state; ``None`` if it is unknown."""
    state = await connection.fetchval(_FIND_SUBSCRIPTION, subscription)
    return SubscriptionState.model_validate_json(state) if state else None


async def find_product(connection: Connection, product: str) -> ProductState | None:
    """Load a product's state; ``None`` if it is unknown."""
    state = await connection.fetchval(_FIND_PRODUCT, product)
    return ProductState.model_validate_json(state) if state else None


class Projection:
    """This process's newest catalogue, replaced as a whole for each version.

    It is a cache of committed state.
    """

    def __init__(self) -> None:
        self.catalogue = Catalogue()
        self._loading = asyncio.Lock()

    async def refresh(self, connection: Connection) -> Catalogue:
        """Load changes since the last version. Return the newest catalogue.

        If nothing has changed, this costs one cheap read.
        """
        if await connection.fetchval(_LOAD_VERSION) != self.catalogue.version:
            async with self._loading:
                await self._load(connection)
        return self.catalogue

    def add_sources(self, numbers: Mapping[str, int]) -> None:
        """Add numbers of sources, after their commit."""
        self.catalogue = self.catalogue.with_sources(numbers)

    async def _load(self, connection: Connection) -> None:
        known = self.catalogue
        version = await connection.fetchval(_LOAD_VERSION)
        products = await connection.fetch(_LOAD_PRODUCTS, known.version)
        meters = await connection.fetch(_LOAD_METERS, [row["id"] for row in products])
        subscriptions = await connection.fetch(_LOAD_SUBSCRIPTIONS, known.version)
        sources = [] if known.sources else await connection.fetch(_LOAD_SOURCES, SOURCES_KNOWN)
        # From ``self.catalogue``, not ``known``: sources may have been added during the reads.
        changed = self.catalogue.with_changes(version, _subscriptions(subscriptions), _products(products, meters))
        self.catalogue = changed.with_sources({row["id"]: row["number"] for row in sources})


def _products(rows: Sequence[Row], meters: Sequence[Row]) -> list[ProductView]:
    """Decode the products whose row can be read.

    For others the previous state stays in force.
    """
    numbers: dict[str, dict[str, int]] = {}
    for row in meters:
        numbers.setdefault(row["product"], {})[row["id"]] = row["number"]
    return decode_rows(
        rows,
        lambda row: product_view_of(ProductState.model_validate_json(row["state"]), numbers.get(row["id"], {})),
        "product",
    )


def _subscriptions(rows: Sequence[Row]) -> list[SubscriptionView]:
    """Decode the subscriptions whose row can be read.

    For others the previous state stays in force.
    """
    return decode_rows(rows, lambda row: view_of(row["number"], read_subscription(row["state"])), "subscription")


async def ensure_sources(connection: Connection, sources: Sequence[str]) -> dict[str, int]:
    """Insert new sources; return the numbers of all given ones."""
    await connection.execute(_INSERT_SOURCES, sorted(sources))
    return {row["id"]: row["number"] for row in await connection.fetch(_FIND_SOURCES, list(sources))}
