"""The delivery worker.

It claims due deliveries under a lease, sends them, and saves their outcome. Any number of workers may run. Delivery is
at least once: if a worker dies between the receiver's acceptance and the commit, another sends the same ``webhook-id``
again.

The backoff is stored in the row, not in a retry loop in memory (``stamina``): it lasts up to 72 hours, longer than
processes.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal
from uuid import uuid4

from services.alerts import metrics
from services.alerts.domain.schedule import Backoff
from services.alerts.domain.webhook_body import webhook_body
from services.alerts.store.deliveries import (
    CHANNEL,
    Delivery,
    DueDelivery,
    Shares,
    claim_deliveries,
    count_pending,
    find_due,
    find_next_due,
    has_due,
    postpone_delivery,
    settle_delivery,
)
from services.alerts.webhooks.sender import Answer, WebhookSender
from shared.events.alerts import DeliverySettled
from shared.events.topics import ALERTS_EVENTS_TOPIC
from shared.runtime.delivery.isolation import concerns_one, isolate
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.listen import add_listener
from shared.runtime.postgres.pool import Connection
from shared.runtime.process import logging
from shared.runtime.process.background import repeat
from shared.runtime.process.clock import Clock
from shared.runtime.signing import Keys, SignatureError, unseal

POLL_SECONDS = 10
"""Longest time until the table is polled, in case a notification is lost."""
SHARE_POLL_SECONDS = 0.5
"""Time until the table is polled while a due delivery waits for its share.

Another process may free the share.
"""
WRITERS = 4
"""Most concurrent transactions that save outcomes.

Many deliveries that end at once then do not use up the connections.
"""

NewTransaction = Callable[[], AbstractAsyncContextManager[Transaction]]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Concurrency, lease and backoff of a worker."""

    concurrency: int = 256
    concurrency_per_channel: int = 4
    lease_for: timedelta = timedelta(seconds=30)
    backoff: Backoff = field(default_factory=Backoff)

    def shares(self, sending: int) -> Shares:
        """Return how many deliveries may be claimed while ``sending`` are in flight.

        A customer has at most a quarter of all slots; an eighth is reserved for customers with nothing in flight. So
        another customer is delayed only if as many customers as reserved slots have hanging receivers.
        """
        return Shares(
            channel=self.concurrency_per_channel,
            customer=max(1, self.concurrency // 4),
            free=self.concurrency - sending,
            reserved=self.concurrency // 8,
        )


class DeliveryWorker:
    """Delivers due alerts until cancelled.

    ``listen`` opens a connection for LISTEN; ``time_is_certain`` waits until the clock can be decided by.
    """

    def __init__(
        self,
        transaction: NewTransaction,
        listen: Callable[[], Awaitable[Connection]],
        sender: WebhookSender,
        *,
        keys: Keys,
        clock: Clock,
        options: WorkerOptions,
        aside: SetAside,
        time_is_certain: Callable[[], Awaitable[None]],
    ) -> None:
        self._transaction = transaction
        self._listen = listen
        self._sender = sender
        self._keys = keys
        self._clock = clock
        self._options = options
        self._aside = aside
        self._time_is_certain = time_is_certain
        self._writers = asyncio.Semaphore(WRITERS)
        self._woken = asyncio.Event()
        self._sending = 0
        self._log = logging.get("deliveries")

    async def run(self) -> None:
        """Claim and send due deliveries, then wait for more, until cancelled."""
        async with self._listening() as connection, asyncio.TaskGroup() as tasks:

            async def claim_and_send() -> float:
                await self._time_is_certain()  # deliveries are given up by it
                for delivery in await self._claim():
                    self._sending += 1
                    tasks.create_task(self._deliver(delivery))
                return await self._pause_seconds(connection)

            await repeat(claim_and_send, woken=self._woken)

    async def _claim(self) -> list[Delivery]:
        shares = self._options.shares(self._sending)
        if shares.free == 0:
            return []
        claimed: dict[str, Delivery] = {}
        async with self._transaction() as tx:
            known = await self._aside.load(tx.connection, tx.now)
            due = await find_due(tx.connection, tx.now, shares, known.waiting)

            async def claim(some: Sequence[DueDelivery]) -> None:
                ids = [one.id for one in some]
                until = tx.now + self._options.lease_for
                for delivery in await claim_deliveries(tx.connection, ids, lease=str(uuid4()), until=until):
                    claimed[delivery.id] = delivery

            for failed in await isolate(tx, due, lambda one: one.id, claim):
                await self._aside.add(tx, failed.whose, failed.items[0].subscription, failed.error)
        return list(claimed.values())

    async def _pause_seconds(self, connection: Connection) -> float:
        """Seconds until the next delivery falls due, at most ``POLL_SECONDS``.

        Updates the gauge of pending deliveries.

        Raises:
            ConnectionError: ``connection``, which listens, was lost.
        """
        if connection.is_closed():
            raise ConnectionError("the connection that listens for deliveries was lost")
        seconds: float = POLL_SECONDS
        if self._sending < self._options.concurrency:
            async with self._transaction() as tx:
                due_at = await find_next_due(tx.connection, tx.now)
                if await has_due(tx.connection, tx.now):
                    seconds = SHARE_POLL_SECONDS
                metrics.DELIVERIES_PENDING.set(await count_pending(tx.connection))
            if due_at is not None:
                seconds = max(0.01, min(seconds, (due_at - self._clock()).total_seconds()))
        return seconds

    async def _deliver(self, delivery: Delivery) -> None:
        """Make one attempt. A failure sets aside this delivery only."""
        try:
            answer = await self._attempt(delivery)
            async with self._writers, self._transaction() as tx:
                await self._write(tx, delivery, answer)
                await self._aside.clear(tx.connection, [delivery.id])
        except Exception as error:
            await self._set_aside(delivery, error)
        finally:
            self._sending -= 1
            self._woken.set()

    async def _set_aside(self, delivery: Delivery, error: Exception) -> None:
        """Set a delivery aside.

        If that cannot be saved, its lease must end before it is tried again.
        """
        if not concerns_one(error):
            self._log.warning("delivery_not_written", delivery=delivery.id, error=repr(error))
            return
        try:
            async with self._writers, self._transaction() as tx:
                await self._aside.add(tx, delivery.id, delivery.alert.subscription, error)
        except Exception as unwritten:
            self._log.warning("delivery_not_written", delivery=delivery.id, error=repr(unwritten))

    async def _attempt(self, delivery: Delivery) -> Answer:
        if delivery.is_removed:
            return Answer("the channel was removed", is_final=True)
        try:
            secret = unseal(delivery.sealed_secret, self._keys)
            url = delivery.url if delivery.sealed_url is None else unseal(delivery.sealed_url, self._keys)
        except SignatureError as error:
            return Answer(str(error))
        now = self._clock()
        body = webhook_body(delivery.alert, delivery.part, delivery.whole, now)
        return await self._sender.send(url, secret, customer=delivery.account, id=delivery.id, body=body, now=now)

    async def _write(self, tx: Transaction, delivery: Delivery, answer: Answer) -> None:
        if answer.error is None:
            await self._settle(tx, delivery, "delivered", None)
            return
        again_at = None
        if not answer.is_final:
            chance = random.random()  # noqa: S311  # jitter, no secret
            again_at = self._options.backoff.next_attempt(delivery.attempts, delivery.created_at, tx.now, chance)
        self._log.warning(
            "delivery_failed", delivery=delivery.id, attempt=delivery.attempts, error=answer.error, again_at=again_at
        )
        if again_at is None:
            await self._settle(tx, delivery, "dead", answer.error)
            return
        await postpone_delivery(tx.connection, delivery, again_at, answer.error)
        tx.after_commit(lambda: metrics.DELIVERIES.labels(channel=delivery.kind, outcome="failed").inc())

    async def _settle(
        self, tx: Transaction, delivery: Delivery, outcome: Literal["delivered", "dead"], error: str | None
    ) -> None:
        if not await settle_delivery(tx.connection, delivery, outcome, tx.now, error):
            return
        settled = DeliverySettled(
            delivery=delivery.id,
            alert=delivery.alert.id,
            subscription=delivery.alert.subscription,
            channel=delivery.channel,
            outcome=outcome,
            attempts=delivery.attempts,
            settled_at=tx.now,
            last_error=error,
        )
        await tx.emit(ALERTS_EVENTS_TOPIC, settled.subscription, settled, subject=delivery.id)
        seconds = (tx.now - delivery.created_at).total_seconds()
        tx.after_commit(lambda: _count(delivery.kind, outcome, seconds))

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[Connection]:
        connection = await self._listen()
        try:
            await add_listener(connection, CHANNEL, lambda _: self._woken.set())
            yield connection
        finally:
            await connection.close(timeout=2)


def _count(kind: str, outcome: str, seconds: float) -> None:
    metrics.DELIVERIES.labels(channel=kind, outcome=outcome).inc()
    if outcome == "delivered":
        metrics.DELIVERY_SECONDS.observe(max(0.0, seconds))
