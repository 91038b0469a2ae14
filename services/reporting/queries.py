"""What may be read, as the API answers it. The page calls the same functions, in-process.

Bodies are dicts of the shape that INTERFACES gives; times are ``datetime`` in UTC. Whatever the caller may not know of
raises ``ProblemError`` with ``not_found``.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from services.reporting.domain.caller import Caller
from shared.runtime.postgres import Pool

Body = dict[str, Any]


class Queries:
    """Reads on the read models."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock

    async def me(self, caller: Caller) -> Body:
        """``{"email", "name", "vendor", "subscriptions": [{"id", "account", "name", "role", "permissions"}]}``."""
        raise NotImplementedError

    async def overview(self, caller: Caller, subscription: str) -> Body:
        """The subscription's overview. ``["version"]`` is its ETag.

        Raises:
            ProblemError: ``not_found``; ``forbidden`` for who manages its people only.
        """
        raise NotImplementedError

    async def alerts(self, caller: Caller, subscription: str, *, active_only: bool = False) -> list[Body]:
        """The subscription's newest alerts (at most 200), newest first, each with ``value_now``."""
        raise NotImplementedError
