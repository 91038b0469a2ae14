"""Databases for tests, cloned from a template that is migrated once.

As deployed: an owner has migrated the template, and the connection string is of the service's role, which owns nothing.
"""

import hashlib
import importlib
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from deploy.local import databases
from shared.runtime.postgres import grants
from shared.runtime.postgres.grants import Access
from shared.runtime.postgres.migrations import load_migrations, migrate

SERVICES = Path(__file__).parents[3] / "services"
PASSWORD = "test"
_LOCK = 0x756E6974_74657374


@asynccontextmanager
async def connect(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Open a connection for the block."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


def named(dsn: str, database: str) -> str:
    """The connection string of another database of the same server."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def as_owner(dsn: str) -> str:
    """The connection string of the database's owner, which may alter tables."""
    return _as(dsn, databases.owner_of(str(urlsplit(dsn).username)))


def _as(dsn: str, role: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{parts.hostname}:{parts.port or 5432}"))


async def create_database(admin_dsn: str, service: str, migrations: Path | None = None) -> str:
    """Create a migrated database of ``service``; return its connection string.

    That of the service's role.
    """
    async with connect(admin_dsn) as admin:
        template = await _template(admin, admin_dsn, service, migrations or SERVICES / service / "migrations")
        return await _clone(admin, admin_dsn, template, f"test_{service}")


async def copy_database(admin_dsn: str, dsn: str) -> str:
    """Copy a database that has no connections; return the connection string.

    That of the service's role.
    """
    parts = urlsplit(dsn)
    async with connect(admin_dsn) as admin:
        return await _clone(admin, admin_dsn, parts.path.removeprefix("/"), str(parts.username), "STRATEGY file_copy")


async def _clone(
    admin: "asyncpg.Connection[asyncpg.Record]", admin_dsn: str, template: str, role: str, options: str = ""
) -> str:
    database = f"{role}_{uuid4().hex[:12]}"
    await admin.execute(
        f'CREATE DATABASE "{database}" TEMPLATE "{template}" OWNER "{databases.owner_of(role)}" {options}'
    )
    await admin.execute(
        f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC; '
        f'GRANT CONNECT, TEMPORARY ON DATABASE "{database}" TO "{role}"'
    )
    return _as(named(admin_dsn, database), role)


async def drop_database(admin_dsn: str, dsn: str) -> None:
    """Drop a database, and close its connections."""
    database = urlsplit(dsn).path.removeprefix("/")
    async with connect(admin_dsn) as admin:
        await admin.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


async def _template(admin: "asyncpg.Connection[asyncpg.Record]", admin_dsn: str, service: str, folder: Path) -> str:
    """Return the template's name, which has a hash of its migrations.

    So a reused server never clones an outdated one.
    """
    migrations, granted, role = load_migrations(service, folder), _access(service, folder), f"test_{service}"
    content = [*(f"{one.name}{one.checksum}" for one in migrations), repr(granted), inspect.getsource(grants)]
    name = f"template_{service}_{hashlib.sha256(''.join(content).encode()).hexdigest()[:12]}"
    await admin.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        if not await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            building = f"{name}_building"
            await admin.execute(f'DROP DATABASE IF EXISTS "{building}" WITH (FORCE)')
            databases.create_roles(admin_dsn, dict.fromkeys((role, databases.owner_of(role)), PASSWORD))
            databases.create_database(admin_dsn, building, service_role=role)
            async with connect(as_owner(_as(named(admin_dsn, building), role))) as connection:
                await migrate(connection, migrations, granted)
            await admin.execute(f'ALTER DATABASE "{building}" RENAME TO "{name}"')
    finally:
        await admin.execute("SELECT pg_advisory_unlock($1)", _LOCK)
    return name


def _access(service: str, folder: Path) -> Access:
    """The protected tables of the service's definition; services of tests have none."""
    if folder != SERVICES / service / "migrations" or not folder.exists():
        return Access(f"test_{service}")
    definition = importlib.import_module(f"services.{service}.main").definition()
    return Access(f"test_{service}", definition.read_only)
