"""The products' names."""

from shared.events.ids import ProductId
from shared.events.state import ProductState
from shared.runtime.postgres.pool import Connection

_UPSERT = """
INSERT INTO products (id, name, version) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version
WHERE products.version < excluded.version
"""
_LOAD_NAMES = "SELECT id, name FROM products"


async def upsert_product(connection: Connection, product: ProductState) -> None:
    """Keep a product's name, unless the known one is as new."""
    await connection.execute(_UPSERT, product.id, product.name, product.version)


async def load_names(connection: Connection) -> dict[ProductId, str]:
    """The names of the whole catalogue (some tens of products)."""
    return {row["id"]: row["name"] for row in await connection.fetch(_LOAD_NAMES)}
