"""The catalogue."""

from collections.abc import Iterable

from services.reporting.store.paging import Page, page, read_cursor
from shared.events.state import ProductState
from shared.runtime.postgres.pool import Connection, Row
from shared.runtime.postgres.row_decoding import decode_rows

_UPSERT = """
INSERT INTO products (id, version, state) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, state = excluded.state
WHERE products.version < excluded.version
"""
_FIND_ALL = "SELECT id, state FROM products WHERE id = ANY($1::text[])"
_LIST = "SELECT id, state FROM products WHERE id > $1 ORDER BY id LIMIT $2"


async def upsert_product(connection: Connection, state: ProductState) -> None:
    """Upsert the state unless the stored one is as new or newer."""
    await connection.execute(_UPSERT, state.id, state.version, state.model_dump_json())


async def find_products(connection: Connection, ids: Iterable[str]) -> dict[str, ProductState]:
    """Find products by id; unknown ones are left out."""
    return decode_products(await connection.fetch(_FIND_ALL, list(ids)))


def decode_products(rows: Iterable[Row]) -> dict[str, ProductState]:
    """Decode rows of (id, state) to states by id; unreadable ones are left out."""
    return {state.id: state for state in decode_rows(rows, _state, "products")}


async def list_products(connection: Connection, limit: int, cursor: str | None) -> Page[ProductState]:
    """List products by id."""
    place = read_cursor(cursor, 1)
    rows = await connection.fetch(_LIST, place[0] if place else "", limit + 1)
    return page(rows, limit, _state, lambda row: (row["id"],), "products")


def _state(row: Row) -> ProductState:
    return ProductState.model_validate_json(row[1])
