"""Load usage that is too old for ingest.

Metering's handler applies it, with a moving clock.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby

from pydantic import SecretStr

from deploy.local.demo.usage import UsageEvent
from deploy.local.demo.usage_sender import in_order
from deploy.local.errors import LocalStackError
from deploy.local.wait import Wait
from services.metering.backfill import Backfill
from services.metering.handlers.apply_usage import UsageApplier
from services.metering.settings import MeteringSettings
from shared.runtime.postgres.pool import Connection, connect


async def load_history(
    dsn: str,
    reported: Iterable[UsageEvent],
    wanted: Mapping[str, Collection[str]],
    note: Callable[[datetime, int], None] = lambda _day, _count: None,
) -> int:
    """Apply each day's usage as if accepted at the end of that day.

    Returns the number of events. ``wanted`` maps the events' subscriptions to their products; ``note`` is called with
    each day and the events applied so far.

    Raises:
        LocalStackError: metering does not know a subscription, or rejected an event.
    """
    settings = MeteringSettings(database_url=SecretStr(dsn), statement_timeout_seconds=120)
    connection = await connect(settings, "unitpool-demo-history")
    try:
        applier = UsageApplier()
        await _wait_for(applier, connection, wanted)
        backfill, count = Backfill(connection, applier), 0
        for day, events in groupby(in_order(reported), key=_end_of_day):
            batch = [(one.key, one.value) for one in events]
            applied = await backfill.apply(day, batch)
            if applied.rejected:
                raise LocalStackError(f"usage of {day:%Y-%m-%d} was rejected: {next(iter(applied.rejected.values()))}")
            note(day, count := count + len(batch))
        return count
    finally:
        await connection.close()


def _end_of_day(one: UsageEvent) -> datetime:
    midnight = one.at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=1) - timedelta(seconds=1)


async def _wait_for(applier: UsageApplier, connection: Connection, wanted: Mapping[str, Collection[str]]) -> None:
    """Wait until metering's projection has the subscriptions with their products."""
    wait = Wait("metering to know the demo's subscriptions")
    while True:
        known = (await applier.projection.refresh(connection)).subscriptions
        missing = [
            subscription
            for subscription, products in wanted.items()
            if subscription not in known
            or not set(products) <= {str(one.product) for one in known[subscription].state.products}
        ]
        if not missing:
            return
        if wait.is_over(f"{len(missing)} are not known yet, the first is {missing[0]}"):
            raise LocalStackError(f"metering does not know {len(missing)} of the demo's subscriptions: {missing[0]}")
        await asyncio.sleep(0.2)
