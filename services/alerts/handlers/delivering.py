"""The delivery worker: takes what is due under a lease, sends it, writes down what became of it.

Any number of them may run. At least once: a worker that dies between the receiver's yes and the commit is followed by
another that sends the same ``webhook-id`` again.

The back-off lies in the row and not in a retry loop around the call (``stamina``): it lasts for up to 72 hours, which
outlives processes.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal
from uuid import uuid4

from services.alerts import metrics
from services.alerts.domain.payload import webhook_payload
from services.alerts.domain.schedule import Backoff
from services.alerts.store.deliveries import (
    CHANNEL,
    Delivery,
    claim_deliveries,
    count_pending,
    find_next_due,
    postpone_delivery,
    settle_delivery,
)
from services.alerts.webhooks import Answer, WebhookSender
from shared.events.alerts import DeliverySettled
from shared.events.topics import ALERTS_EVENTS_TOPIC
from shared.runtime import logging
from shared.runtime.clock import Clock
from shared.runtime.delivery import Transaction
from shared.runtime.postgres import Connection
from shared.runtime.signing import Keys, SignatureError, unseal

LOOK_SECONDS = 10
"""How long at most until the next look at the table, should a notification be lost."""

NewTransaction = Callable[[], AbstractAsyncContextManager[Transaction]]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How much at a time, for how long, and when again."""

    concurrency: int = 8
    lease_for: timedelta = timedelta(seconds=30)
    backoff: Backoff = field(default_factory=Backoff)


class DeliveryWorker:
    """Delivers until cancelled."""

    def __init__(
        self,
        transaction: NewTransaction,
        listen: Callable[[], Awaitable[Connection]],
        sender: WebhookSender,
        *,
        keys: Keys,
        clock: Clock,
        options: WorkerOptions,
    ) -> None:
        self._transaction = transaction
        self._listen = listen
        self._sender = sender
        self._keys = keys
        self._clock = clock
        self._options = options
        self._woken = asyncio.Event()
        self._sending = 0
        self._log = logging.get("deliveries")

    async def run(self) -> None:
        """Take, send, wait for more."""
        async with self._listening() as connection, asyncio.TaskGroup() as tasks:
            while True:
                self._woken.clear()
                for delivery in await self._claim():
                    self._sending += 1
                    tasks.create_task(self._deliver(delivery))
                await self._rest(connection)

    async def _claim(self) -> list[Delivery]:
        free = self._options.concurrency - self._sending
        if free == 0:
            return []
        async with self._transaction() as tx:
            return await claim_deliveries(
                tx.connection, tx.now, limit=free, lease=str(uuid4()), lease_for=self._options.lease_for
            )

    async def _rest(self, connection: Connection) -> None:
        """Until there is something to do: a new delivery, one that falls due, or a free hand."""
        if connection.is_closed():
            raise ConnectionError("the connection that listens for deliveries was lost")
        seconds: float = LOOK_SECONDS
        if self._sending < self._options.concurrency:
            async with self._transaction() as tx:
                due_at = await find_next_due(tx.connection)
                metrics.DELIVERIES_PENDING.set(await count_pending(tx.connection))
            if due_at is not None:
                seconds = max(0.01, min(seconds, (due_at - self._clock()).total_seconds()))
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            answer = await self._attempt(delivery)
            async with self._transaction() as tx:
                await self._write(tx, delivery, answer)
        finally:
            self._sending -= 1
            self._woken.set()

    async def _attempt(self, delivery: Delivery) -> Answer:
        if delivery.is_removed:
            return Answer("the channel was removed", is_final=True)
        try:
            secret = unseal(delivery.sealed_secret, self._keys)
        except SignatureError as error:
            return Answer(str(error))
        now = self._clock()
        payload = webhook_payload(delivery.alert, delivery.part, delivery.whole, now)
        return await self._sender.send(delivery.url, secret, id=delivery.id, payload=payload, now=now)

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
            await connection.add_listener(CHANNEL, lambda *_: self._woken.set())
            yield connection
        finally:
            await connection.close(timeout=2)


def _count(kind: str, outcome: str, seconds: float) -> None:
    metrics.DELIVERIES.labels(channel=kind, outcome=outcome).inc()
    if outcome == "delivered":
        metrics.DELIVERY_SECONDS.observe(max(0.0, seconds))
