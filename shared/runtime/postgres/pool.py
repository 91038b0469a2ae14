"""PostgreSQL: the pool, the types that handlers see, and transient errors."""

import asyncio
import socket
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from shared.runtime.process.addresses import check_database_url
from shared.runtime.process.settings import ServiceSettings

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
    Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

Row: TypeAlias = asyncpg.Record

_TRANSIENT_CLASSES = ("08", "40", "53", "57", "58")
"""SQLSTATE classes of transient errors.

They are connection, serialization and deadlock, resources (disk full), operator (shutdown), and system.
"""
_TRANSIENT_STATES = ("55P03", "25006")
"""Lock not available; read-only.

A server is read-only that is no longer, or not yet, the primary.
"""
_LOCK_OR_TIMEOUT_STATES = ("40001", "40P01", "55P03", "57014")
"""Serialization, deadlock, lock not available, statement timeout."""
RELAY_SESSION = {"synchronous_commit": "off"}
"""Session settings of the relay, whose commits do not wait for the disk.

It deletes rows that Kafka has acknowledged, and sets aside those that Kafka refuses. If the server crashes, the newest
of these changes may be lost and the rows are sent again, as after a crash of the relay.
"""
GENERIC_PLANS = {"plan_cache_mode": "force_generic_plan"}
"""Session settings for few statements with one good plan each.

PostgreSQL expects longer arrays than they give, and would plan each execution, which can take longer than the
execution.
"""
CLOSE_SECONDS = 2.0
"""Longest wait for the server to answer a cancellation.

Then the connection is closed without the answer.
"""
_CLOSED_WORDS = ("closed", "closing", "released back", "terminated")


within_request: Final[ContextVar[float | None]] = ContextVar("within_request", default=None)
"""Longest time in seconds for which a request uses a database connection.

It is set while an HTTP request is answered, and includes the time to get the connection. ``None``: no limit.

Cancelling does not end a statement of a server that hangs, since asyncpg waits for its consent. So a connection that is
used for longer, in an ``async with`` block, is terminated, and its statement fails with a transient error.
"""

DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Errors of connecting and of using a connection."""


def is_transient_database_error(error: BaseException) -> bool:
    """Whether a retry can succeed without a change of the data or the code."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        migrated = isinstance(error, asyncpg.InvalidCachedStatementError)
        return migrated or state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_STATES
    if isinstance(error, asyncpg.InternalClientError):  # the connection broke in the middle of an answer
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return any(word in str(error) for word in _CLOSED_WORDS)
    return isinstance(error, (ConnectionError, TimeoutError, socket.gaierror))


def is_lock_or_timeout(error: BaseException) -> bool:
    """Return whether a transient error concerns one statement.

    Such errors are lock or statement timeout, deadlock and serialization.
    """
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "") in _LOCK_OR_TIMEOUT_STATES


def new_pool(settings: ServiceSettings, application: str, session: Mapping[str, str] | None = None) -> Pool:
    """Make a pool, which ``open_pool`` opens. Call it while the event loop runs.

    asyncpg closes a pool permanently when its first connections fail. So the pool opens none at first: ``open_pool``
    does, and may be called until it succeeds. ``session``: PostgreSQL settings beside ours.
    """
    return _ServicePool(
        settings.database_url.get_secret_value(),
        min_size=0,
        max_size=settings.pool_max_size,
        max_queries=50_000,
        max_inactive_connection_lifetime=300.0,
        loop=None,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        timeout=10,
        command_timeout=settings.statement_timeout_seconds + 5,
        server_settings=_session(settings, application) | dict(session or {}),
        reset=_skip_reset,
    )


class _ServicePool(asyncpg.Pool):
    """A pool that bounds how long a request may use a connection.

    The bound is ``within_request``. A connection with an unfinished transaction is closed instead of being reused.
    """

    def acquire(self, *, timeout: float | None = None) -> Any:
        """Acquire a connection, by ``async with`` or ``await``, within the request's time."""
        seconds = within_request.get()
        return super().acquire(timeout=timeout) if seconds is None else _BoundedAcquire(self, seconds)

    async def acquire_unbounded(self) -> "PoolConnectionProxy[asyncpg.Record]":
        """Acquire a connection without a time limit."""
        return await super().acquire()

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as asyncpg has it
        """Return a connection to the pool, or close it if its transaction has not ended.

        The COMMIT or ROLLBACK at the end of a block can be cancelled like any statement. asyncpg would log the open
        transaction as an error, and would occupy the pool's slot for as long as a statement may take, until the server
        answers the cancellation.
        """
        if _is_in_transaction(connection):
            await asyncio.shield(_close(connection))
        else:
            with suppress(TimeoutError):  # then asyncpg has closed it
                await super().release(connection, timeout=timeout or CLOSE_SECONDS)


def _is_in_transaction(connection: Connection) -> bool:
    with suppress(asyncpg.InterfaceError):  # it was terminated, so it is back already
        return connection.is_in_transaction()
    return False


async def _close(connection: Connection) -> None:
    """Close the connection once the server has answered the cancellation.

    It is closed after ``CLOSE_SECONDS`` without an answer.
    """
    with suppress(*DATABASE_ERRORS):
        await connection.close(timeout=CLOSE_SECONDS)


class _BoundedAcquire:
    def __init__(self, pool: _ServicePool, seconds: float) -> None:
        self._pool = pool
        self._seconds = seconds

    async def __aenter__(self) -> "PoolConnectionProxy[asyncpg.Record]":
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        self._connection = await self._acquired()
        self._timer = loop.call_at(until, self._connection.terminate)
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._pool.release(self._connection)

    def __await__(self) -> Generator[Any, None, "PoolConnectionProxy[asyncpg.Record]"]:
        return self._acquired().__await__()

    async def _acquired(self) -> "PoolConnectionProxy[asyncpg.Record]":
        async with asyncio.timeout(self._seconds):
            return await self._pool.acquire_unbounded()


async def open_pool(pool: Pool, settings: ServiceSettings) -> None:
    """Open the pool with its first connections.

    Raises:
        one of ``DATABASE_ERRORS``: the database does not answer; call it again later.
    """
    await pool
    first = max(1, min(settings.pool_min_size, settings.pool_max_size))
    opened = await asyncio.gather(*(pool.acquire() for _ in range(first)), return_exceptions=True)
    failures = [one for one in opened if isinstance(one, BaseException)]
    for one in opened:
        if not isinstance(one, BaseException):
            await pool.release(one)
    for failure in failures:
        raise failure


async def _skip_reset(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Skip asyncpg's four statements for each connection returned to the pool.

    They have nothing to reset: settings are ``SET LOCAL``, cursors end with their transaction, LISTEN and session locks
    use connections outside the pool. A connection with a transaction that was left open does not come back.
    """


async def connect(
    settings: ServiceSettings, application: str, *, as_owner: bool = False, session: Mapping[str, str] | None = None
) -> "asyncpg.Connection[asyncpg.Record]":
    """Open a connection outside the pool.

    It is for LISTEN, or for a lock that lasts as long as the connection.

    ``as_owner``: under the role that owns the tables, where the settings name one. ``session``: as for the pool.
    """
    url = (as_owner and settings.migrate_database_url) or settings.database_url
    return await asyncpg.connect(
        url.get_secret_value(),
        timeout=10,
        command_timeout=settings.statement_timeout_seconds + 5,
        server_settings=_session(settings, application) | dict(session or {}),
    )


class HeldConnection:
    """A connection outside the pool, for very frequent callers.

    Acquiring one each time would cost them too much.
    They use it one at a time. It is opened when first needed, and again after it broke. ``session``: as for the pool.
    """

    def __init__(self, settings: ServiceSettings, application: str, session: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._application = application
        self._session = session
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def get(self) -> "asyncpg.Connection[asyncpg.Record]":
        """The open connection.

        Raises:
            one of ``DATABASE_ERRORS``: the database does not answer.
        """
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._settings, self._application, session=self._session)
        return self._connection

    @asynccontextmanager
    async def use(self, seconds: float) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Yield the open connection for ``seconds``.

        After that it is terminated, and its statement fails with a transient error.

        Raises:
            one of ``DATABASE_ERRORS``: the database does not answer.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        async with asyncio.timeout_at(until):
            connection = await self.get()
        timer = loop.call_at(until, connection.terminate)
        try:
            yield connection
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Close it, if it is open."""
        if self._connection is not None:
            await self._connection.close()


def _session(settings: ServiceSettings, application: str) -> dict[str, str]:
    limit = f"{settings.statement_timeout_seconds}s"
    return {
        "application_name": application,
        "timezone": "UTC",
        "statement_timeout": limit,
        "lock_timeout": limit,
        "idle_in_transaction_session_timeout": "60s",
        # A process whose machine failed must not hold its locks for hours.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }


def location_of(dsn: str) -> str:
    """Return host, port and database of a connection string, for messages.

    User and password are left out.
    """
    try:
        check_database_url(dsn)
        parts = urlsplit(dsn)
        port = parts.port or 5432
    except ValueError:
        return "the database"
    return f"{parts.hostname or 'socket'}:{port}{parts.path}"


def describe_database_error(error: BaseException, settings: ServiceSettings) -> str:
    """Say in a sentence why the database cannot be used.

    It does not answer, or it refuses this service. The sentence has no secrets.
    """
    location = location_of(settings.database_url.get_secret_value())
    if isinstance(error, (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
        return f"PostgreSQL at {location}, which answers, but refuses this service's user or password: {error}"
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return f"PostgreSQL at {location}, which answers, but has no such database"
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return f"PostgreSQL at {location}, which answers, but this service's user may not do this: {error}"
    return f"PostgreSQL at {location}, which does not answer: {error or type(error).__name__}"


async def check_answers(pool: Pool, timeout_seconds: float = 2) -> None:
    """Run a trivial statement.

    Raises:
        one of ``DATABASE_ERRORS``: it did not succeed in time.
    """
    async with asyncio.timeout(timeout_seconds), pool.acquire() as connection:
        await connection.fetchval("SELECT true")
