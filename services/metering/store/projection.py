"""The projection of allocation.events: stored by whoever reads the topic, loaded by every process as it needs it."""

from collections.abc import Mapping, Sequence

from services.metering.domain.catalogue import Catalogue
from shared.events.state import ProductState, SubscriptionState
from shared.runtime.postgres import Connection

_RAISE_VERSION = "UPDATE projection SET version = version + 1 RETURNING version"
_LOAD_VERSION = "SELECT version FROM projection"
_UPSERT_SUBSCRIPTION = """
INSERT INTO subscription AS s (id, state, version, projection_version) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state, version = EXCLUDED.version,
    projection_version = EXCLUDED.projection_version
WHERE s.version < EXCLUDED.version
"""
_UPSERT_PRODUCT = """
INSERT INTO product AS p (id, state, version, projection_version) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state, version = EXCLUDED.version,
    projection_version = EXCLUDED.projection_version
WHERE p.version < EXCLUDED.version
"""
_INSERT_METERS = "INSERT INTO meter (product, id) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING"
_FIND_PRODUCT = "SELECT state FROM product WHERE id = $1"
_LOAD_SUBSCRIPTIONS = "SELECT number, state FROM subscription WHERE projection_version > $1"
_LOAD_PRODUCTS = "SELECT id, state FROM product WHERE projection_version > $1"
_LOAD_METERS = "SELECT number, product, id FROM meter WHERE product = ANY ($1)"
_LOAD_SOURCES = "SELECT number, id FROM source ORDER BY number LIMIT 100000"
_INSERT_SOURCES = "INSERT INTO source (id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
_FIND_SOURCES = "SELECT number, id FROM source WHERE id = ANY ($1)"
_STORE_POSITIONS = """
INSERT INTO projection_position AS p (partition, next_offset) SELECT unnest($1::integer[]), unnest($2::bigint[])
ON CONFLICT (partition) DO UPDATE SET next_offset = greatest(p.next_offset, EXCLUDED.next_offset)
"""
_LOAD_POSITIONS = "SELECT partition, next_offset FROM projection_position"


async def save(
    connection: Connection, subscriptions: Sequence[SubscriptionState], products: Sequence[ProductState]
) -> None:
    """Keep what is newer than what is stored, as one new version of the projection."""
    version = await connection.fetchval(_RAISE_VERSION)
    for product in products:
        await connection.execute(_UPSERT_PRODUCT, product.id, product.model_dump_json(), product.version, version)
        await connection.execute(_INSERT_METERS, product.id, [meter.meter for meter in product.meters])
    await connection.executemany(
        _UPSERT_SUBSCRIPTION, [(state.id, state.model_dump_json(), state.version, version) for state in subscriptions]
    )


async def find_product(connection: Connection, product: str) -> ProductState | None:
    """A product as it is stored."""
    state = await connection.fetchval(_FIND_PRODUCT, product)
    return ProductState.model_validate_json(state) if state else None


async def load_version(connection: Connection) -> int:
    """The projection's version."""
    return int(await connection.fetchval(_LOAD_VERSION))


async def refresh(connection: Connection, catalogue: Catalogue) -> bool:
    """Bring ``catalogue`` up to what is stored; whether it changed. A cheap look when nothing did."""
    version = await load_version(connection)
    if version == catalogue.version:
        return False
    products = await connection.fetch(_LOAD_PRODUCTS, catalogue.version)
    numbers: dict[str, dict[str, int]] = {}
    for row in await connection.fetch(_LOAD_METERS, [row["id"] for row in products]):
        numbers.setdefault(row["product"], {})[row["id"]] = row["number"]
    for row in products:
        catalogue.put_product(ProductState.model_validate_json(row["state"]), numbers.get(row["id"], {}))
    for row in await connection.fetch(_LOAD_SUBSCRIPTIONS, catalogue.version):
        catalogue.put_subscription(row["number"], SubscriptionState.model_validate_json(row["state"]))
    if not catalogue.sources:
        catalogue.sources.update({row["id"]: row["number"] for row in await connection.fetch(_LOAD_SOURCES)})
    catalogue.version = version
    return True


async def ensure_sources(connection: Connection, sources: Sequence[str]) -> dict[str, int]:
    """The numbers of sources, given to those that are new."""
    await connection.execute(_INSERT_SOURCES, sorted(sources))
    return {row["id"]: row["number"] for row in await connection.fetch(_FIND_SOURCES, list(sources))}


async def store_positions(connection: Connection, nexts: Mapping[int, int]) -> None:
    """Note up to which offset of each partition the projection holds allocation.events."""
    await connection.execute(_STORE_POSITIONS, list(nexts), list(nexts.values()))


async def load_positions(connection: Connection) -> dict[int, int]:
    """Up to which offset of each partition the projection holds allocation.events."""
    return {row["partition"]: row["next_offset"] for row in await connection.fetch(_LOAD_POSITIONS)}
