"""Migrations: numbered SQL files, each applied once, in order.

One runner at a time applies them.
The runtime's come first, then the service's. A file must not change once it is applied.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from shared.runtime.postgres.grants import Access, grant, unknown_tables
from shared.runtime.postgres.pool import Connection

RUNTIME_MIGRATIONS = Path(__file__).parent.with_name("migrations")
LOCK = 0x756E6974_6D696772
"""Key of the advisory lock that a runner holds."""

_FILE = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")

_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
_LOAD_APPLIED = "SELECT name, checksum FROM schema_migrations"
_INSERT_APPLIED = "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)"


class MigrationError(Exception):
    """The migrations do not fit the database, or one failed.

    The message names the file.
    """


@dataclass(frozen=True, slots=True)
class Migration:
    """One file.

    ``name`` is unique over both folders, such as ``runtime/0001_delivery``.
    """

    name: str
    sql: str
    file: Path

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(service: str, folder: Path | None) -> tuple[Migration, ...]:
    """Load the runtime's migrations, then those in ``folder``.

    They are in order of their numbers.

    Raises:
        MigrationError: a file that is not named NNNN_what.sql, or a number twice.
    """
    folders = [("runtime", RUNTIME_MIGRATIONS)]
    if folder is not None and folder.is_dir():
        folders.append((service, folder))
    return tuple(migration for owner, where in folders for migration in _load(owner, where))


def _load(owner: str, folder: Path) -> list[Migration]:
    found: dict[str, Migration] = {}
    for file in sorted(folder.glob("*.sql")):
        match = _FILE.match(file.name)
        if match is None:
            raise MigrationError(f"{file} is not named like 0001_what.sql")
        if match[1] in found:
            raise MigrationError(f"{file} and {found[match[1]].file.name} have the same number")
        found[match[1]] = Migration(f"{owner}/{file.stem}", file.read_text(encoding="utf-8"), file)
    return list(found.values())


async def migrate(connection: Connection, migrations: Sequence[Migration], access: Access | None = None) -> list[str]:
    """Apply missing migrations and return their names.

    A second runner waits for the first.

    ``access``: the service's role, if it differs from the connection's; its rights are granted even if no migration is
    missing. ``None``: nothing is granted.

    Raises:
        MigrationError: a file that was applied has changed since, the database was migrated by a newer program, or a
            file failed (nothing of it remains).
    """
    await connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK, timeout=3600)
    try:
        await connection.execute(_CREATE_TABLE)
        applied = await _load_applied(connection)
        _refuse_changed(migrations, applied)
        if fault := _ahead(migrations, applied):
            raise MigrationError(f"{fault}; nothing was changed. Use the program that migrated it, or a newer one")
        missing = [migration for migration in migrations if migration.name not in applied]
        for migration in missing:
            await _apply(connection, migration, access)
        if access:
            await _grant_all(connection, access)
        return [migration.name for migration in missing]
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def _apply(connection: Connection, migration: Migration, access: Access | None) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql, timeout=3600)
            await connection.execute(_INSERT_APPLIED, migration.name, migration.checksum)
            if access:
                await grant(connection, access)
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.file} failed: {error}") from error


async def _grant_all(connection: Connection, access: Access) -> None:
    if unknown := await unknown_tables(connection, access.read_only):
        raise MigrationError(
            f"read_only names tables that do not exist: {', '.join(unknown)}. Correct the service's definition"
        )
    async with connection.transaction():
        await grant(connection, access)


async def _load_applied(connection: Connection) -> dict[str, str]:
    return {row["name"]: row["checksum"] for row in await connection.fetch(_LOAD_APPLIED)}


def _refuse_changed(migrations: Sequence[Migration], applied: dict[str, str]) -> None:
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationError(
                f"{migration.file} has changed since it was applied; write a new migration instead of changing it"
            )


@dataclass(frozen=True, slots=True)
class Fault:
    """Why this program cannot run on this database.

    ``is_final``: none of its migrations can change that.
    """

    sentence: str
    is_final: bool = False

    def __str__(self) -> str:
        return self.sentence


async def find_fault(connection: Connection, migrations: Sequence[Migration]) -> Fault | None:
    """Why this program cannot run on this database; ``None``: it can."""
    try:
        applied = await _load_applied(connection)
    except asyncpg.UndefinedTableError:
        return Fault("the database was never migrated: run the service's migrate command")
    try:
        _refuse_changed(migrations, applied)
    except MigrationError as error:
        return Fault(str(error), is_final=True)
    if missing := [migration.name for migration in migrations if migration.name not in applied]:
        return Fault(f"the database is behind by {', '.join(missing)}: run the service's migrate command")
    if fault := _ahead(migrations, applied):
        return Fault(fault, is_final=True)
    return None


async def require_fit(connection: Connection, migrations: Sequence[Migration]) -> None:
    """Check the migrations before a command changes data.

    Raises:
        MigrationError: this program cannot run on this database.
    """
    if fault := await find_fault(connection, migrations):
        raise MigrationError(fault.sentence)


def _ahead(migrations: Sequence[Migration], applied: dict[str, str]) -> str | None:
    unknown = sorted(set(applied) - {migration.name for migration in migrations})
    return f"the database is ahead of this program: {', '.join(unknown)} is not known here" if unknown else None
