"""Retries of records that consumers set aside.

The metric and the readiness detail of all work set aside are here too.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from prometheus_client import Gauge

from shared.runtime.delivery.backoff import Backoff
from shared.runtime.delivery.isolation import concerns_one
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import BatchHandler, Transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.process.background import repeat
from shared.runtime.process.health import Check

POLL_SECONDS = 0.5
SHOWN_MAX = 3
"""Most keys named in the readiness detail."""

SET_ASIDE = Gauge("unitpool_set_aside", "Keys whose work fails and is retried, until it succeeds", ["work"])

_SUMMARIZE = """
SELECT work, count(DISTINCT whose) AS keys, min(since) AS since,
    (array_agg(DISTINCT whose ORDER BY whose))[:3] AS shown, (array_agg(error ORDER BY retry_at DESC))[1] AS error
FROM set_aside_work WHERE work = ANY($1::text[]) GROUP BY work ORDER BY work
"""


class SetAsideWorkRetries:
    """Retries what consumers of a service set aside, and reports all such work.

    ``handlers`` apply the records of consumers; ``tasks`` retry their own rows and are only reported.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        handlers: Mapping[SetAside, BatchHandler],
        tasks: tuple[SetAside, ...] = (),
        *,
        delay_max_seconds: float,
    ) -> None:
        self._transaction = transaction
        self._handlers = handlers
        self._works = [one.work for one in (*handlers, *tasks)]
        self._backoff = Backoff(delay_max_seconds)
        self._detail = "nothing"
        for work in self._works:
            SET_ASIDE.labels(work=work).set(0)

    async def run(self) -> None:
        """Retry until cancelled; run it as a background task."""
        await repeat(self._poll, on_error=self._backoff.pause_if_transient)

    async def _poll(self) -> float:
        await self.retry_all()
        self._backoff.reset()
        return POLL_SECONDS

    async def retry_all(self) -> None:
        """Retry each due key once, and update the metric and the detail.

        Each retry is in a transaction of its own.
        """
        for aside, handler in self._handlers.items():
            async with self._transaction() as tx:
                due = await aside.find_due(tx.connection, tx.now)
            for key in due:
                await self._retry(aside, key, handler)
        async with self._transaction() as tx:
            await self._show(tx.connection)

    async def check(self) -> Check:
        """Return a check that is always ok, and names what is set aside.

        One key's failure must not stop the service for all.
        """
        return Check(ok=True, detail=self._detail)

    async def _retry(self, aside: SetAside, key: str, handler: BatchHandler) -> None:
        try:
            async with self._transaction() as tx:
                await aside.retry(tx, key, handler)
        except Exception as error:
            if not concerns_one(error):
                raise
            aside.count(key, error)

    async def _show(self, connection: Connection) -> None:
        rows = await connection.fetch(_SUMMARIZE, self._works)
        keys = {row["work"]: row["keys"] for row in rows}
        for work in self._works:
            SET_ASIDE.labels(work=work).set(keys.get(work, 0))
        lines = [
            f"{row['work']}: {', '.join(row['shown'])}{' and others' if row['keys'] > SHOWN_MAX else ''}"
            f" ({row['keys']} since {row['since'].isoformat(timespec='seconds')}, {row['error']})"
            for row in rows
        ]
        self._detail = "; ".join(lines) or "nothing"
