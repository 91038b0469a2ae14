"""The rights of a service's role in a database whose tables another role owns.

A service reads and writes rows and alters nothing. It only reads the ``read_only`` tables of its definition: functions
of the owner (``SECURITY DEFINER``), which the service may call, change them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.runtime.postgres.pool import Connection

ALWAYS_READ_ONLY = ("schema_migrations",)


@dataclass(frozen=True, slots=True)
class Access:
    """The role that gets rights, and the tables that it may only read."""

    role: str
    read_only: tuple[str, ...] = ()


# Partitions are reached through their parents, and get their rights as they are made, by the default privileges.
_TABLES = """
SELECT oid::regclass::text AS name, relname = ANY($1::text[]) AS is_read_only
FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
ORDER BY relname
"""
_QUOTED = "SELECT quote_ident($1)"
_SCHEMA = """
GRANT USAGE ON SCHEMA public TO {role};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLES TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO {role};
"""
_WRITABLE = "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {tables} TO {role}"
_READ_ONLY = "REVOKE ALL ON {tables} FROM {role}; GRANT SELECT ON {tables} TO {role}"


async def grant(connection: Connection, access: Access) -> None:
    """Grant the role its rights on present and future objects.

    On read-only tables all rights but SELECT are revoked. Run it as the owner, in the transaction that creates a table,
    so that the table never has other rights.
    """
    role = await connection.fetchval(_QUOTED, access.role)
    rows = await connection.fetch(_TABLES, [*ALWAYS_READ_ONLY, *access.read_only])
    await connection.execute(_SCHEMA.format(role=role))
    for statement, is_read_only in ((_WRITABLE, False), (_READ_ONLY, True)):
        if tables := [row["name"] for row in rows if row["is_read_only"] is is_read_only]:
            await connection.execute(statement.format(tables=", ".join(tables), role=role))


async def unknown_tables(connection: Connection, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that are not tables: a misspelt name would protect nothing."""
    known = {row["name"] for row in await connection.fetch(_TABLES, [])}
    return [name for name in names if name not in known]
