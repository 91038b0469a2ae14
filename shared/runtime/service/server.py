"""The HTTP server of a service process, and its signals."""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Iterator, Mapping

import uvicorn

from shared.runtime.http.connection_limits import BoundedProtocol
from shared.runtime.postgres.migrations import MigrationError
from shared.runtime.process import health, metrics
from shared.runtime.process.settings import S, SettingsError
from shared.runtime.service.definition import Runtime
from shared.runtime.service.lifecycle import Lifecycle

VERSION = "0.1.0"
OPEN_CONNECTIONS_SECONDS = 3
"""Longest wait of a stop for requests that are being answered."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to ``serve``, which stops more than the HTTP server."""
        yield


async def serve(runtime: Runtime[S], lifecycle: Lifecycle[S] | None = None) -> int:
    """Run until SIGTERM or SIGINT, and return the exit code.

    A stop takes ``stop_within_seconds`` at most. ``lifecycle``: of a process that is not the whole service.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    lifecycle = lifecycle or Lifecycle(runtime)
    health.add_routes(runtime.api, runtime.health, service=runtime.name, version=VERSION, refresh=lifecycle.measure)
    runtime.api.state.is_open = lambda: lifecycle.is_open
    metrics.begin_routes(path for route in runtime.api.routes if (path := getattr(route, "path", "")))
    listener = _listen(runtime.settings.http_host, runtime.settings.http_port, f"UNITPOOL_{runtime.name.upper()}")
    server = _Server(
        uvicorn.Config(
            runtime.app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the middleware reads them, from the proxies that the settings name
            timeout_keep_alive=runtime.settings.http_keep_alive_seconds,
            timeout_graceful_shutdown=OPEN_CONNECTIONS_SECONDS,
        )
    )
    stop = _stop_signals()
    runtime.log.info("listening", host=runtime.settings.http_host, port=listener.getsockname()[1])
    answering = asyncio.create_task(server.serve(sockets=[listener]))
    starting = asyncio.create_task(lifecycle.start())
    failed = await _until_stopped(stop, starting, answering)
    if failed:
        expected = isinstance(failed, MigrationError)
        runtime.log.error("service_failed", reason=str(failed), exc_info=None if expected else failed)
    runtime.log.info("stopping")
    starting.cancel()
    try:
        async with asyncio.timeout(runtime.settings.stop_within_seconds):
            await asyncio.gather(starting, return_exceptions=True)
            await _stop_serving(runtime, server, answering, announced=failed is None)
            await lifecycle.stop()
    except TimeoutError:
        runtime.log.warning("stopped_hard", after_seconds=runtime.settings.stop_within_seconds)
        runtime.pool.terminate()
    runtime.log.info("stopped")
    return 1 if failed else 0


async def _stop_serving(
    runtime: Runtime[S], server: _Server, answering: "asyncio.Task[None]", *, announced: bool
) -> None:
    """Become not ready, end streams, and stop the HTTP server.

    Traffic goes elsewhere once the service is not ready.
    """

    async def stopping() -> health.Check:
        return health.Check(ok=False, detail="the service stops")

    runtime.health.add("stopping", stopping)
    runtime.app.is_closing = True
    if announced and not answering.done():
        await asyncio.sleep(runtime.settings.stop_announce_seconds)
    for hang_up in runtime.hangups:
        hang_up()
    server.should_exit = True
    await asyncio.gather(answering, return_exceptions=True)


async def _until_stopped(
    stop: asyncio.Event, starting: "asyncio.Task[None]", answering: "asyncio.Task[None]"
) -> BaseException | None:
    """Wait for a stop signal, or for the start or the server to fail.

    Returns the error of a failure; ``None`` after a signal.
    """
    stopped = asyncio.create_task(stop.wait())
    waiting: set[asyncio.Task[None] | asyncio.Task[bool]] = {stopped, starting, answering}
    while True:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if starting in done and (error := starting.exception()):
            return error
        if stopped in done:
            return None
        if answering in done:
            return answering.exception() or RuntimeError("the HTTP server ended")


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


_REASONS: Mapping[int, str] = {
    errno.EADDRINUSE: "is in use by another program",
    errno.EACCES: "may not be used by this user",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
}


def _listen(host: str, port: int, prefix: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = _REASONS.get(error.errno or 0, str(error))
        raise SettingsError(f"{prefix}_HTTP_HOST, {prefix}_HTTP_PORT: {host}:{port} {reason}") from None
    return listener
