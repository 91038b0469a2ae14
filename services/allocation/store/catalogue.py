"""Products with their meters and rates."""

from collections import defaultdict

from shared.events.ids import ProductId
from shared.events.state import Meter, Permission, ProductState, Rate, RoleTemplate
from shared.runtime.postgres.pool import Connection

_INSERT_PRODUCT = """
INSERT INTO products (id, name, sources, retired_at, version) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING RETURNING id
"""
_FIND_PRODUCT = "SELECT id, name, sources, retired_at, roles_version, version FROM products WHERE id = $1"
_LOCK_PRODUCT = """
SELECT id, name, sources, retired_at, roles_version, version FROM products WHERE id = $1 FOR NO KEY UPDATE
"""
_LOAD_METERS = "SELECT id, name, aggregation, reset FROM meters WHERE product = $1 ORDER BY place"
_LOAD_RATES = """
SELECT meter, version, units, block, effective_from FROM rates WHERE product = $1 ORDER BY meter, version
"""
_SHARE_LOCK_PRODUCT = """
SELECT id, name, sources, retired_at, roles_version, version FROM products WHERE id = $1 FOR SHARE
"""
_UPDATE_PRODUCT = "UPDATE products SET retired_at = $2, version = $3 WHERE id = $1"
_INSERT_METER = """
INSERT INTO meters (product, id, place, name, aggregation, reset)
VALUES ($1, $2, (SELECT count(*) FROM meters WHERE product = $1), $3, $4, $5)
"""
_LOAD_PERMISSIONS = "SELECT id, category, description FROM permissions WHERE product = $1 ORDER BY place"
_LOAD_TEMPLATES = "SELECT role, name, summary, permissions FROM role_templates WHERE product = $1 ORDER BY place"
_SET_ROLES_VERSION = "UPDATE products SET roles_version = $2, version = $3 WHERE id = $1"
_DELETE_PERMISSIONS = "DELETE FROM permissions WHERE product = $1"
_DELETE_TEMPLATES = "DELETE FROM role_templates WHERE product = $1"
_INSERT_PERMISSION = """
INSERT INTO permissions (product, id, place, category, description) VALUES ($1, $2, $3, $4, $5)
"""
_INSERT_TEMPLATE = """
INSERT INTO role_templates (role, product, place, name, summary, permissions) VALUES ($1, $2, $3, $4, $5, $6)
"""
_FIND_WITHOUT_ROLES = "SELECT id FROM products WHERE roles_version = 0 ORDER BY id LIMIT $1"
_INSERT_RATE = """
INSERT INTO rates (product, meter, version, units, block, effective_from) VALUES ($1, $2, $3, $4, $5, $6)
"""


async def insert_product(connection: Connection, product: ProductState) -> bool:
    """Insert a product without meters; return false if the id is used already."""
    inserted = await connection.fetchval(
        _INSERT_PRODUCT, product.id, product.name, list(product.sources), product.retired_at, product.version
    )
    return inserted is not None


async def find_product(connection: Connection, product: ProductId) -> ProductState | None:
    """Load a product with its meters and rates."""
    return await _load(connection, _FIND_PRODUCT, product)


async def lock_product(connection: Connection, product: ProductId) -> ProductState | None:
    """Lock a product for update, with its meters and rates."""
    return await _load(connection, _LOCK_PRODUCT, product)


async def share_lock_product(connection: Connection, product: ProductId) -> ProductState | None:
    """Lock a product against changes by others, without changing it."""
    return await _load(connection, _SHARE_LOCK_PRODUCT, product)


async def update_product(connection: Connection, product: ProductState) -> None:
    """Update a product's version, and whether it is retired."""
    await connection.execute(_UPDATE_PRODUCT, product.id, product.retired_at, product.version)


async def insert_meter(connection: Connection, product: ProductState, meter: Meter) -> None:
    """Insert a meter of ``product`` with its rates.

    The product's new version is saved too.
    """
    await update_product(connection, product)
    await connection.execute(_INSERT_METER, product.id, meter.meter, meter.name, meter.aggregation, meter.reset)
    for rate in meter.rates:
        await _insert_rate(connection, product.id, meter, rate)


async def insert_rate(connection: Connection, product: ProductState, meter: Meter) -> None:
    """Insert the newest rate of ``meter``, and save the new version of ``product``."""
    await update_product(connection, product)
    await _insert_rate(connection, product.id, meter, meter.rates[-1])


async def replace_templates(connection: Connection, product: ProductState) -> None:
    """Replace the permissions and default roles of ``product``.

    The product's new versions are saved too.
    """
    await connection.execute(_SET_ROLES_VERSION, product.id, product.roles_version, product.version)
    await connection.execute(_DELETE_PERMISSIONS, product.id)
    await connection.execute(_DELETE_TEMPLATES, product.id)
    await connection.executemany(
        _INSERT_PERMISSION,
        [(product.id, one.id, place, one.category, one.description) for place, one in enumerate(product.permissions)],
    )
    await connection.executemany(
        _INSERT_TEMPLATE,
        [
            (one.role, product.id, place, one.name, one.summary, list(one.permissions))
            for place, one in enumerate(product.roles)
        ],
    )


async def find_without_roles(connection: Connection, limit: int) -> list[ProductId]:
    """Find products of releases in which products had no default roles."""
    return [row["id"] for row in await connection.fetch(_FIND_WITHOUT_ROLES, limit)]


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
    permissions = tuple(Permission(**dict(row)) for row in await connection.fetch(_LOAD_PERMISSIONS, product))
    roles = tuple(RoleTemplate(**dict(row)) for row in await connection.fetch(_LOAD_TEMPLATES, product))
    return ProductState(**dict(found), meters=meters, permissions=permissions, roles=roles)
