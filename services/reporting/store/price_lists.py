"""The newest price list."""

from shared.events.state import PriceList
from shared.runtime.postgres.pool import Connection

_UPSERT = """
INSERT INTO price_lists (id, version, state) VALUES ('units', $1, $2)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, state = excluded.state
WHERE price_lists.version < excluded.version
"""
_FIND = "SELECT state FROM price_lists WHERE id = 'units'"


async def upsert_price_list(connection: Connection, state: PriceList) -> None:
    """Upsert the price list unless the stored one is as new or newer."""
    await connection.execute(_UPSERT, state.version, state.model_dump_json())


async def find_price_list(connection: Connection) -> PriceList | None:
    """Find the price list; ``None`` until the vendor has set one."""
    state = await connection.fetchval(_FIND)
    return None if state is None else PriceList.model_validate_json(state)
