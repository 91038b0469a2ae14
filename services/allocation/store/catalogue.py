"""Products with their meters and rates."""

from collections import defaultdict

from shared.events.ids import ProductId
from shared.events.state import Meter, ProductState, Rate
from shared.runtime.postgres import Connection

_INSERT_PRODUCT = """
INSERT INTO products (id, name, sources, retired_at, version) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING RETURNING id
"""
_FIND_PRODUCT = "SELECT id, name, sources, retired_at, version FROM products WHERE id = $1"
_LOCK_PRODUCT = "SELECT id, name, sources, retired_at, version FROM products WHERE id = $1 FOR NO KEY UPDATE"
_LOAD_METERS = "SELECT id, name, aggregation, reset FROM meters WHERE product = $1 ORDER BY place"
_LOAD_RATES = """
SELECT meter, version, units, block, effective_from FROM rates WHERE product = $1 ORDER BY meter, version
"""
_UPDATE_VERSION = "UPDATE products SET version = $2 WHERE id = $1"
_INSERT_METER = """
INSERT INTO meters (product, id, place, name, aggregation, reset)
VALUES ($1, $2, (SELECT count(*) FROM meters WHERE product = $1), $3, $4, $5)
"""
_INSERT_RATE = """
INSERT INTO rates (product, meter, version, units, block, effective_from) VALUES ($1, $2, $3, $4, $5, $6)
"""


async def insert_product(connection: Connection, product: ProductState) -> bool:
    """Keep a new product, without meters; false where there is one with this id."""
    inserted = await connection.fetchval(
        _INSERT_PRODUCT, product.id, product.name, list(product.sources), product.retired_at, product.version
    )
    return inserted is not None


async def find_product(connection: Connection, product: ProductId) -> ProductState | None:
    """The product, whole."""
    return await _load(connection, _FIND_PRODUCT, product)


async def lock_product(connection: Connection, product: ProductId) -> ProductState | None:
    """The product, whole, for this transaction alone to change."""
    return await _load(connection, _LOCK_PRODUCT, product)


async def insert_meter(connection: Connection, product: ProductState, meter: Meter) -> None:
    """Add a meter of ``product``, which has its new version, with its rates."""
    await connection.execute(_UPDATE_VERSION, product.id, product.version)
    await connection.execute(_INSERT_METER, product.id, meter.meter, meter.name, meter.aggregation, meter.reset)
    for rate in meter.rates:
        await _insert_rate(connection, product.id, meter, rate)


async def insert_rate(connection: Connection, product: ProductState, meter: Meter) -> None:
    """Add the newest rate of ``meter`` of ``product``, which has its new version."""
    await connection.execute(_UPDATE_VERSION, product.id, product.version)
    await _insert_rate(connection, product.id, meter, meter.rates[-1])


async def _insert_rate(connection: Connection, product: ProductId, meter: Meter, rate: Rate) -> None:
    await connection.execute(
        _INSERT_RATE, product, meter.meter, rate.version, rate.units, rate.block, rate.effective_from
    )


async def _load(connection: Connection, find: str, product: ProductId) -> ProductState | None:
    found = await connection.fetchrow(find, product)
    if found is None:
        return None
    rates: dict[str, list[Rate]] = defaultdict(list)
    for row in await connection.fetch(_LOAD_RATES, product):
        rates[row["meter"]].append(
            Rate(
                version=row["version"],
                units=row["units"],
                block=row["block"],
                effective_from=row["effective_from"],
            )
        )
    meters = tuple(
        Meter(
            meter=row["id"],
            name=row["name"],
            aggregation=row["aggregation"],
            reset=row["reset"],
            rates=tuple(rates[row["id"]]),
        )
        for row in await connection.fetch(_LOAD_METERS, product)
    )
    return ProductState(**dict(found), meters=meters)
