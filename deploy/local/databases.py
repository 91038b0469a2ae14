"""One database per service, with two roles: its owner, and the service's.

The owner migrates the database; the service's role owns nothing. Each role can connect to this database only.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import get_args
from urllib.parse import unquote, urlsplit

from deploy.local import secret
from deploy.local.errors import LocalStackError
from deploy.local.postgres import PostgresServer, programs
from shared.events.topics import ServiceName

SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)

_ROLE = r"""
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
"""
# CREATE DATABASE cannot run in a transaction or a DO block, so \gexec runs it from a query. Older stacks made the
# service's role the owner of its database; REASSIGN gives the database's objects to the owner.
_DATABASE = r"""
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
ALTER DATABASE :"database" OWNER TO :"owner";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :"database" TO :"service";
\connect :"database"
REASSIGN OWNED BY :"service" TO :"owner";
"""
_REVOKE_OTHER_DATABASES = "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;\n"


def database_of(service: ServiceName) -> str:
    """The name of a service's database, and of its role."""
    return f"unitpool_{service}"


def owner_of(role: str) -> str:
    """The role that owns the tables of the service with this role."""
    return f"{role}_owner"


def create_databases(server: PostgresServer, secrets_folder: Path) -> dict[ServiceName, str]:
    """Create the databases and roles that are missing.

    Returns each service's connection string.

    Raises:
        LocalStackError: PostgreSQL refused a statement.
    """
    _run(server.admin_dsn, _REVOKE_OTHER_DATABASES, {})
    for service in SERVICES:
        name = database_of(service)
        create_roles(server.admin_dsn, {role: _password(secrets_folder, role) for role in (name, owner_of(name))})
        create_database(server.admin_dsn, name, service_role=name)
    return addresses(server, secrets_folder)


def create_roles(admin_dsn: str, passwords: Mapping[str, str]) -> None:
    """Create the roles that are missing, and set the passwords of all.

    They have no right but to sign in.
    """
    for name, password in passwords.items():
        _run(admin_dsn, _ROLE, {"name": name, "password": password})


def create_database(admin_dsn: str, database: str, *, service_role: str) -> None:
    """Create the database if it is missing, and make the owner's role its owner.

    The service's role may connect.
    """
    names = {"database": database, "service": service_role, "owner": owner_of(service_role)}
    _run(admin_dsn, _DATABASE, names)


def addresses(server: PostgresServer, secrets_folder: Path) -> dict[ServiceName, str]:
    """Each service's connection string; valid before its database exists."""
    return {service: _address(server, secrets_folder, service, database_of(service)) for service in SERVICES}


def owner_address(server: PostgresServer, secrets_folder: Path, service: ServiceName) -> str:
    """The connection string with which a service's database is migrated."""
    return _address(server, secrets_folder, service, owner_of(database_of(service)))


def _address(server: PostgresServer, secrets_folder: Path, service: ServiceName, role: str) -> str:
    return server.dsn(role, _password(secrets_folder, role), database_of(service))


def _password(secrets_folder: Path, name: str) -> str:
    return secret.load_or_create(secrets_folder / f"{name}.password")


def environment(dsn: str) -> dict[str, str]:
    """The variables with which PostgreSQL's programs connect.

    A password must not be on a command line, because every user of the machine can read that.
    """
    address = urlsplit(dsn)
    return {
        "LC_ALL": "C",
        "PGHOST": str(address.hostname),
        "PGPORT": str(address.port),
        "PGUSER": str(address.username),
        "PGPASSWORD": unquote(address.password or ""),
        "PGDATABASE": address.path.removeprefix("/"),
    }


def _run(dsn: str, script: str, variables: dict[str, str]) -> None:
    """Run a script in psql.

    The variables go by standard input, because they hold passwords.

    Raises:
        LocalStackError: PostgreSQL refused a statement.
    """
    settings = "".join(f"\\set {name} '{value}'\n" for name, value in variables.items())
    done = subprocess.run(
        [str(programs() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"],
        input=settings + script,
        env=environment(dsn),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LocalStackError(f"PostgreSQL refused to make the databases: {done.stderr.strip()}")
