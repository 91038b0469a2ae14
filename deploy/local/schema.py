"""``make schema``: write the schema of each service's database as text, by table.

The schema is that of an empty database after all migrations. It has no rights, because every run of the migrations
grants them (docs/runtime.md).
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import asyncpg

from deploy.local import databases, postgres_home
from deploy.local.errors import LocalStackError
from deploy.local.postgres import PostgresServer, programs
from shared.events.topics import ServiceName
from shared.runtime.postgres.migrations import load_migrations, migrate

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "docs" / "schema"
TITLE = """\
-- The database of {service}: what the runtime's migrations and its own make of an empty one.
-- Written by `make schema`, for reading. Rights are not in it (docs/runtime.md).
"""

_ENTRY = re.compile(r"^--\n-- Name: (?P<name>.+); Type: (?P<kind>[A-Z ]+); Schema: .*\n--\n", re.MULTILINE)
_TABLE = re.compile(r"\b(?:TABLE ONLY|TABLE|VIEW|OWNED BY|ON ONLY|ON COLUMN|ON) public\.(?P<table>\w+)")
_BETWEEN = re.compile(r"(?:\s*^(?:SET default_\w+ = .*;|--.*|\\.*)$)+\s*\Z", re.MULTILINE)
"""The lines of pg_dump between two entries."""
_FIRST = ("FUNCTION", "TABLE", "VIEW")


class Entry(NamedTuple):
    """An object of the database; ``table`` is empty for functions, which come first."""

    table: str
    rank: int
    kind: str
    name: str
    text: str


def page_of(dump: str) -> str:
    """Sort a dump of pg_dump.

    Functions come first, then each table or view with what belongs to it. The result does not depend on the server, the
    roles, the time, or the order in which objects were created.
    """
    return "\n\n".join(entry.text for entry in sorted(_entries(dump))) + "\n"


def _entries(dump: str) -> Iterator[Entry]:
    heads = list(_ENTRY.finditer(dump))
    ends = [*(head.start() for head in heads[1:]), len(dump)]
    for head, end in zip(heads, ends, strict=True):
        kind, name, text = head["kind"], head["name"], _BETWEEN.sub("", dump[head.end() : end]).strip()
        if kind == "FUNCTION":  # its body stays as it was written
            first, newline, body = text.partition("\n")
            yield Entry("", 0, kind, name, first.replace("public.", "") + newline + body)
            continue
        found = _TABLE.search(text)
        rank = _FIRST.index(kind) if kind in _FIRST else len(_FIRST)
        yield Entry(found["table"] if found else name, rank, kind, name, text.replace("public.", ""))


def schema_of(service: str, dsn: str) -> str:
    """Return the schema page of a service's database.

    The user of ``dsn`` must have read access.

    Raises:
        LocalStackError: pg_dump failed.
    """
    options = ("--schema-only", "--no-owner", "--no-privileges")
    done = subprocess.run(
        [str(programs() / "pg_dump"), *options],
        env=databases.environment(dsn),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LocalStackError(f"pg_dump could not read the schema of {service}: {done.stderr.strip()}")
    return f"{TITLE.format(service=service)}\n{page_of(done.stdout)}"


async def _migrate(service: ServiceName, owner: str) -> None:
    connection = await asyncpg.connect(owner, timeout=60)
    try:
        await migrate(connection, load_migrations(service, REPOSITORY / "services" / service / "migrations"))
    finally:
        await connection.close()


def write(folder: Path = FOLDER) -> None:
    """Write every service's schema page.

    The databases are created for this, and deleted afterwards.
    """
    with TemporaryDirectory(prefix="unitpool-schema-") as root:
        server, secrets = PostgresServer(Path(root)), Path(root) / "secrets"
        try:
            server.start()
            databases.create_databases(server, secrets)
            folder.mkdir(parents=True, exist_ok=True)
            for service in databases.SERVICES:
                owner = databases.owner_address(server, secrets, service)
                asyncio.run(_migrate(service, owner))
                (folder / f"{service}.sql").write_text(schema_of(service, owner), encoding="utf-8")
        finally:
            server.stop()
            postgres_home.delete(Path(root) / "data")


if __name__ == "__main__":
    try:
        write()
    except LocalStackError as error:
        sys.exit(str(error))
