"""Resolution of host names in threads that are limited per customer.

A hanging name server thus delays only its customer.
"""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from services.alerts.domain.addresses import Address, literal

Lookup = Callable[[str], list[Address]]

THREADS_MAX = 256
THREADS_PER_CUSTOMER_MAX = 16


class BusyError(Exception):
    """Too many lookups of this customer are running. The message says so."""


def lookup(host: str) -> list[Address]:
    """Resolve a host to its addresses, in the system's order, each once.

    It blocks until the name server answers.

    Raises:
        OSError, UnicodeError: the host has no address.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = (literal(str(entry[4][0]).partition("%")[0]) for entry in found)
    return list(dict.fromkeys(address for address in addresses if address is not None))


class Resolver:
    """The resolver of names for customers.

    A lookup cannot be cancelled, so each has a thread, limited per customer. The event loop's default threads are not
    used: one hanging name server would occupy them all, and the process waits for them when it ends.
    """

    def __init__(self, lookup: Lookup = lookup) -> None:
        self._lookup = lookup
        self._running: dict[tuple[str, str], asyncio.Future[list[Address]]] = {}
        self._threads: Counter[str] = Counter()

    async def resolve(self, customer: str, host: str) -> list[Address]:
        """Resolve a host to its addresses.

        A literal address needs no lookup; a lookup of the same name that is running for the customer is shared.

        Raises:
            OSError, UnicodeError: the host has no address.
            BusyError: too many lookups of this customer are running.
        """
        address = literal(host)
        if address is not None:
            return [address]
        running = self._running.get((customer, host)) or self._begin(customer, host)
        return await asyncio.shield(running)

    def _begin(self, customer: str, host: str) -> "asyncio.Future[list[Address]]":
        # A customer may have no more threads than are left, so one is always left for a customer without any.
        if self._threads[customer] >= min(THREADS_PER_CUSTOMER_MAX, THREADS_MAX - self._threads.total()):
            raise BusyError("the name servers of other channels do not answer; this name was not looked up yet")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Address]] = loop.create_future()
        self._running[customer, host] = future
        self._threads[customer] += 1

        def end(result: Any, error: Exception | None) -> None:
            del self._running[customer, host]
            self._threads[customer] -= 1
            self._threads += Counter()  # drops customers without threads
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
                future.exception()  # retrieved, as nothing may await it any more

        def work() -> None:
            result, fault = None, None
            try:
                result = self._lookup(host)
            except Exception as error:
                fault = error
            with suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(end, result, fault)

        threading.Thread(target=work, name=f"resolve-{customer}", daemon=True).start()
        return future
