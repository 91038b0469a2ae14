"""Fresh databases for tests: cloned from a template that holds a service's migrations."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from shared.runtime.migrations import load_migrations, migrate

SERVICES = Path(__file__).parent.parent / "services"
_LOCK = 0x756E6974_74657374


@asynccontextmanager
async def connect(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """One connection, closed afterwards."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


def named(dsn: str, database: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


async def create_database(admin_dsn: str, service: str, migrations: Path | None = None) -> str:
    """A new database of ``service``, migrated; its connection string."""
    database = f"test_{service}_{uuid4().hex[:12]}"
    async with connect(admin_dsn) as admin:
        template = await _template(admin, admin_dsn, service, migrations or SERVICES / service / "migrations")
        await admin.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
    return named(admin_dsn, database)


async def drop_database(admin_dsn: str, dsn: str) -> None:
    """Remove it, whoever is connected."""
    database = urlsplit(dsn).path.removeprefix("/")
    async with connect(admin_dsn) as admin:
        await admin.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


async def _template(admin: "asyncpg.Connection[asyncpg.Record]", admin_dsn: str, service: str, folder: Path) -> str:
    """The template's name tells its migrations, so that a server that is used again never has an outdated one."""
    migrations = load_migrations(service, folder)
    digest = hashlib.sha256("".join(f"{one.name}{one.checksum}" for one in migrations).encode()).hexdigest()
    name = f"template_{service}_{digest[:12]}"
    await admin.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        if not await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            building = f"{name}_building"
            await admin.execute(f'DROP DATABASE IF EXISTS "{building}" WITH (FORCE)')
            await admin.execute(f'CREATE DATABASE "{building}"')
            async with connect(named(admin_dsn, building)) as connection:
                await migrate(connection, migrations)
            await admin.execute(f'ALTER DATABASE "{building}" RENAME TO "{name}"')
    finally:
        await admin.execute("SELECT pg_advisory_unlock($1)", _LOCK)
    return name
