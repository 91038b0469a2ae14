"""A subscription that always fails, because PostgreSQL refuses its rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.servers.databases import as_owner, connect


@asynccontextmanager
async def poisoned(dsn: str, table: str, condition: str, when: str = "INSERT OR UPDATE") -> AsyncIterator[None]:
    """Refuse writes to ``table`` within the block.

    Those of rows for which ``condition`` (on ``NEW``) holds.
    """
    name = f"poison_{table}"
    async with connect(as_owner(dsn)) as connection:
        await connection.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'poison'; END $$;"
            f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {name}()"
        )
        try:
            yield
        finally:
            await connection.execute(f"DROP TRIGGER {name} ON {table}; DROP FUNCTION {name}()")
