"""Names of products."""

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
    """Save a product's name, unless the stored version is the same or newer."""
    await connection.execute(_UPSERT, product.id, product.name, product.version)


async def load_names(connection: Connection) -> dict[ProductId, str]:
    """Load the names of all products (some tens), by id."""
    return {row["id"]: row["name"] for row in await connection.fetch(_LOAD_NAMES)}
