"""Ingest keys as administrators may see them, without the key's text."""

from services.reporting.store.paging import Page, page, read_cursor
from shared.events.metering import IngestKeyState
from shared.runtime.postgres.pool import Connection, Row

_UPSERT = """
INSERT INTO ingest_keys (id, product, version, state) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, state = excluded.state
WHERE ingest_keys.version < excluded.version
"""
_FIND = "SELECT state FROM ingest_keys WHERE id = $1"
_LIST = """
SELECT id, state FROM ingest_keys WHERE id > $1 AND ($3::text IS NULL OR product = $3) ORDER BY id LIMIT $2
"""


async def upsert_ingest_key(connection: Connection, state: IngestKeyState) -> None:
    """Upsert the state unless the stored one is as new or newer."""
    await connection.execute(_UPSERT, state.id, state.product, state.version, state.model_dump_json())


async def find_ingest_key(connection: Connection, key: str) -> IngestKeyState | None:
    """Find an ingest key by its id."""
    state = await connection.fetchval(_FIND, key)
    return None if state is None else IngestKeyState.model_validate_json(state)


async def list_ingest_keys(
    connection: Connection, limit: int, cursor: str | None, product: str | None = None
) -> Page[IngestKeyState]:
    """List ingest keys by id."""
    place = read_cursor(cursor, 1)
    rows = await connection.fetch(_LIST, place[0] if place else "", limit + 1, product)
    return page(rows, limit, _state, lambda row: (row["id"],), "ingest_keys")


def _state(row: Row) -> IngestKeyState:
    return IngestKeyState.model_validate_json(row["state"])
