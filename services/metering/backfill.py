"""Usage that is too old for the doors (demo data of past months): the same applying, under a moving clock.

The projection must hold the subscriptions and products already. Snapshots of what is loaded become due as usual, and
the running service publishes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from services.metering.handlers.apply_usage import Applied, UsageApplier
from services.metering.handlers.upkeep import keep_up
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Record

TOPIC = "backfill"


@dataclass
class Backfill:
    """Loads usage into metering's database as it would have been applied at the time.

    Give it events in the order of their acceptance. Raw usage older than 60 days is dropped along the way, as upkeep
    would have done; what it added up to stays.
    """

    connection: Connection
    applier: UsageApplier = field(default_factory=UsageApplier)
    _offset: int = 0
    _day: date | None = None

    async def apply(self, accepted_at: datetime, events: Sequence[tuple[str, bytes]]) -> Applied:
        """Apply (key, event as structured JSON) accepted at one instant, in one transaction; what became of each."""
        if accepted_at.date() != self._day:
            self._day = accepted_at.date()
            await keep_up(self.connection, self.applier.projection.catalogue, accepted_at, ahead_days=1)
        self.applier.known_partitions.clear()  # a running service may drop what is old for it
        records = [
            Record(TOPIC, 0, self._offset + number, key.encode(), value, (), accepted_at)
            for number, (key, value) in enumerate(events)
        ]
        async with self.connection.transaction():
            tx = Transaction(self.connection, accepted_at, service="metering")
            applied = await self.applier.apply(tx, records)
            await tx.flush()
        tx.committed()
        self._offset += len(records)
        return applied
