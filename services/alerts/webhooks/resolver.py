"""Names to addresses, in threads that no silent name server can take from anybody else."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from services.alerts.domain.addresses import Address, literal

LookUp = Callable[[str], list[Address]]

THREADS_MAX = 256
THREADS_PER_CUSTOMER_MAX = 16


class BusyError(Exception):
    """So many names of this customer are being looked up that this one has to wait. The message says so."""


def look_up(host: str) -> list[Address]:
    """The addresses of a host, in the system's order, each once. It blocks, for as long as the name server does.

    Raises:
        OSError, UnicodeError: it has none.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = (literal(str(entry[4][0]).partition("%")[0]) for entry in found)
    return list(dict.fromkeys(address for address in addresses if address is not None))


class Resolver:
    """Looks names up for customers. A look-up cannot be stopped, so each has a thread, and each customer few of them.

    The event loop's own threads are for everybody: one silent name server would fill them, and they are waited for
    when the process ends.
    """

    def __init__(self, look_up: LookUp = look_up) -> None:
        self._look_up = look_up
        self._running: dict[tuple[str, str], asyncio.Future[list[Address]]] = {}
        self._threads: Counter[str] = Counter()

    async def resolve(self, customer: str, host: str) -> list[Address]:
        """The addresses of ``host``. A literal address needs no look-up; a name that is being looked up is joined.

        Raises:
            OSError, UnicodeError: it has none.
            BusyError: too many look-ups of this customer have no answer yet.
        """
        address = literal(host)
        if address is not None:
            return [address]
        running = self._running.get((customer, host)) or self._begin(customer, host)
        return await asyncio.shield(running)

    def _begin(self, customer: str, host: str) -> "asyncio.Future[list[Address]]":
        # Nobody has more threads than are left: so there is always one for a customer without any.
        if self._threads[customer] >= min(THREADS_PER_CUSTOMER_MAX, THREADS_MAX - self._threads.total()):
            raise BusyError("the name servers of other channels do not answer; this name was not looked up yet")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Address]] = loop.create_future()
        self._running[customer, host] = future
        self._threads[customer] += 1

        def end(result: Any, error: Exception | None) -> None:
            del self._running[customer, host]
            self._threads[customer] -= 1
            self._threads += Counter()  # without those who have none
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
                future.exception()  # nobody may be waiting any more

        def work() -> None:
            result, fault = None, None
            try:
                result = self._look_up(host)
            except Exception as error:
                fault = error
            with suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(end, result, fault)

        threading.Thread(target=work, name=f"resolve-{customer}", daemon=True).start()
        return future
