"""One database and one role per service; a role can connect to its own database and to no other."""

import subprocess
from pathlib import Path
from typing import get_args
from urllib.parse import unquote, urlsplit

from deploy.local import secret
from deploy.local.errors import LocalStackError
from deploy.local.postgres import PostgresServer, programs
from shared.events.topics import ServiceName

SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)

# CREATE DATABASE cannot run in a transaction or a DO block, so it is made by \gexec from a query.
_CREATE = r"""
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
"""
_CLOSE_THE_OTHERS = "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;\n"


def database_of(service: ServiceName) -> str:
    """The name of a service's database, and of its role."""
    return f"unitpool_{service}"


def create_databases(server: PostgresServer, secrets_folder: Path) -> dict[ServiceName, str]:
    """Create what is missing; each service's connection string.

    Raises:
        LocalStackError: PostgreSQL refused.
    """
    _run(server.admin_dsn, _CLOSE_THE_OTHERS, {})
    for service in SERVICES:
        name = database_of(service)
        _run(server.admin_dsn, _CREATE, {"name": name, "password": _password(secrets_folder, name)})
    return addresses(server, secrets_folder)


def addresses(server: PostgresServer, secrets_folder: Path) -> dict[ServiceName, str]:
    """Each service's connection string, known before its database exists."""
    names = {service: database_of(service) for service in SERVICES}
    return {service: server.dsn(name, _password(secrets_folder, name), name) for service, name in names.items()}


def _password(secrets_folder: Path, name: str) -> str:
    return secret.kept(secrets_folder / f"{name}.password")


def _run(dsn: str, script: str, variables: dict[str, str]) -> None:
    """Everything goes by standard input and environment: a command line is everybody's to read."""
    address = urlsplit(dsn)
    given = "".join(f"\\set {name} '{value}'\n" for name, value in variables.items())
    done = subprocess.run(
        [str(programs() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"],
        input=given + script,
        env={
            "LC_ALL": "C",
            "PGHOST": str(address.hostname),
            "PGPORT": str(address.port),
            "PGUSER": str(address.username),
            "PGPASSWORD": unquote(address.password or ""),
            "PGDATABASE": address.path.removeprefix("/"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LocalStackError(f"PostgreSQL refused to make the databases: {done.stderr.strip()}")
