"""Backfill of usage that is too old for HTTP and Kafka.

It loads demo data of past months in the usual batches, under a moving clock. The projection must already contain the
subscriptions and products. Snapshots of what is loaded become due as usual; the running service publishes them.
Usage by day is published at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from services.metering.handlers.apply_usage import BatchOutcome, UsageApplier
from services.metering.handlers.measure_days import DayMeasurement
from services.metering.handlers.upkeep import maintain_partitions
from services.metering.store import hours, measured_days
from services.metering.store.measured_days import DAY
from shared.events.daily_usage import encode_day
from shared.events.topics import DAILY_USAGE_TOPIC
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Outgoing, Record

TOPIC = "backfill"
ALL_ROWS = 1_000_000


@dataclass
class Backfill:
    """Load usage into metering's database as it would have been applied at the time.

    Events must be given in the order of their acceptance. Raw usage older than 60 days is dropped on the way, as upkeep
    would have done; the sums of it stay.
    """

    connection: Connection
    applier: UsageApplier = field(default_factory=UsageApplier)
    _offset: int = 0
    _day: date | None = None

    async def apply(self, accepted_at: datetime, events: Sequence[tuple[str, bytes]]) -> BatchOutcome:
        """Apply events accepted at one instant, in one transaction.

        Each is given as (key, event as structured JSON). Return their outcomes.
        """
        if accepted_at.date() != self._day:
            self._day = accepted_at.date()
            await maintain_partitions(self.connection, self.applier.projection.catalogue, accepted_at, ahead_days=1)
        self.applier.known_partitions.clear()  # upkeep of a running service may have dropped some of them
        records = [
            Record(TOPIC, 0, self._offset + number, key.encode(), value, (), accepted_at)
            for number, (key, value) in enumerate(events)
        ]
        async with self.connection.transaction():
            tx = Transaction(self.connection, accepted_at, service="metering")
            applied = await self.applier.apply(tx, records)
            await self._publish_days(tx)
            await tx.flush()
        tx.committed()
        self._offset += len(records)
        return applied

    async def _publish_days(self, tx: Transaction) -> None:
        """Publish usage by day, which the running service could not measure later.

        Raw usage of old days is dropped. Later days are left to the running service: those of its own usage, and the
        day after the newest loaded one, which depends on it.
        """
        await hours.add_all(tx.connection)
        due = await measured_days.load_due(tx.connection, ALL_ROWS, ALL_ROWS, tx.now)
        measurement = DayMeasurement(tx.connection, self.applier.projection.catalogue, tx.now)
        loaded = {key for key in due.days if key[2] <= tx.now}
        async for days in measurement.run(loaded):
            for one in days:
                tx.add(Outgoing(DAILY_USAGE_TOPIC.name, *encode_day(one, tx.now)))
        for error in measurement.failed.values():
            raise error
        await measured_days.delete_due(tx.connection, due.ids)
        following = {(*key[:2], key[2] + DAY) for key in loaded}
        await measured_days.insert_due(tx.connection, (due.days - loaded) | following)
