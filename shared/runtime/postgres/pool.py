"""PostgreSQL: the pool, the types that handlers see, and which of its errors pass by themselves."""

import asyncio
import socket
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager
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

_PASSING_CLASSES = ("08", "40", "53", "57", "58")
"""SQLSTATE classes: connection, serialization and deadlock, resources (disk full), operator (shutdown), system."""
_PASSING_STATES = ("55P03", "25006")
"""Lock not available; read-only (a server that is no longer, or not yet, the primary)."""
_OWN_STATES = ("40001", "40P01", "55P03", "57014")
"""Serialization, deadlock, lock not available, statement timeout."""
SENDERS = {"synchronous_commit": "off"}
"""Session of those who only delete what Kafka has acknowledged. A crash of the server may undo the newest of that; then
it is sent once more, as after a crash of theirs. Nobody who must be sure waits for the disk behind them."""
PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan"}
"""Session of those whose few statements have one good plan each. PostgreSQL expects longer arrays than they give, so it
would plan for each anew, which can take longer than to answer."""
_GONE = ("closed", "closing", "released back", "terminated")


within_request: Final[ContextVar[float | None]] = ContextVar("within_request", default=None)
"""While an HTTP request is answered: seconds for which it may wait for a connection and use it, taken together.

Cancelling does not end a statement of a server that stands still: asyncpg first waits for it to agree. So a connection
that is held for longer is cut off, which fails what it runs with an error that passes.
"""

DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What connecting, or using a connection, can end with."""


def is_transient_database_error(error: BaseException) -> bool:
    """Whether trying the same again later can succeed, without anyone changing the data or the code."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        migrated = isinstance(error, asyncpg.InvalidCachedStatementError)
        return migrated or state.startswith(_PASSING_CLASSES) or state in _PASSING_STATES
    if isinstance(error, asyncpg.InternalClientError):  # the connection broke in the middle of an answer
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return any(word in str(error) for word in _GONE)
    return isinstance(error, (ConnectionError, TimeoutError, socket.gaierror))


def is_lock_or_timeout(error: BaseException) -> bool:
    """Whether an error that passes may be one statement's own: it waited too long for a lock, or ran too long."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "") in _OWN_STATES


def new_pool(settings: ServiceSettings, application: str, session: Mapping[str, str] | None = None) -> Pool:
    """A pool that is not open yet: see ``open_pool``. Must be called while the event loop runs.

    asyncpg closes for good a pool whose first connections fail. So it has none: ``open_pool`` makes them, and may be
    called until it succeeds.

    ``session``: PostgreSQL's settings for its connections, beside ours.
    """
    return _RequestPool(
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
        reset=_nothing_to_forget,
    )


class _RequestPool(asyncpg.Pool):
    """A pool that gives a request only so much time: see ``within_request``."""

    def acquire(self, *, timeout: float | None = None) -> Any:
        """A connection, for ``async with`` or ``await``."""
        seconds = within_request.get()
        return super().acquire(timeout=timeout) if seconds is None else _BoundedAcquire(self, seconds)

    async def acquire_unbounded(self) -> "PoolConnectionProxy[asyncpg.Record]":
        """A connection, however long it takes."""
        return await super().acquire()


class _BoundedAcquire:
    def __init__(self, pool: _RequestPool, seconds: float) -> None:
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
        one of ``DATABASE_ERRORS``: the database does not answer; try again.
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


async def _nothing_to_forget(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Instead of asyncpg's four statements each time that a connection goes back to the pool.

    Settings are ``SET LOCAL``, cursors end with their transaction, whoever listens or holds a session's lock for long
    has a connection outside the pool. Transactions left open are ended by asyncpg itself.
    """


async def connect(
    settings: ServiceSettings, application: str, *, as_owner: bool = False, session: Mapping[str, str] | None = None
) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection outside the pool, for a lock that is held as long as the connection lives.

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
    """One connection outside the pool, for those who ask so often that to fetch and return it would cost too much.

    They ask one after the other. It is opened when it is needed first, and again after it broke. ``session``: as for
    the pool.
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
        """The open connection, for so long: then it is cut off, and what it runs fails with an error that passes.

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
        # A process whose machine is gone must not keep its locks for hours.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }


def place_of(dsn: str) -> str:
    """Host and database of a connection string, for messages: no user, no password."""
    try:
        check_database_url(dsn)
        parts = urlsplit(dsn)
        port = parts.port or 5432
    except ValueError:
        return "the database"
    return f"{parts.hostname or 'socket'}:{port}{parts.path}"


def describe_database_error(error: BaseException, settings: ServiceSettings) -> str:
    """Why the database cannot be used, as a sentence that holds no secret: away, or there and we are not let in."""
    place = place_of(settings.database_url.get_secret_value())
    if isinstance(error, (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
        return f"PostgreSQL at {place}, which answers, but refuses this service's user or password: {error}"
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return f"PostgreSQL at {place}, which answers, but has no such database"
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return f"PostgreSQL at {place}, which answers, but this service's user may not do this: {error}"
    return f"PostgreSQL at {place}, which does not answer: {error or type(error).__name__}"


async def ask(pool: Pool, timeout_seconds: float = 2) -> None:
    """Have the database run a statement in time.

    Raises:
        one of ``DATABASE_ERRORS``: it did not.
    """
    async with asyncio.timeout(timeout_seconds), pool.acquire() as connection:
        await connection.fetchval("SELECT true")
