"""Usage that is too old for the doors: metering's own applying, under a clock that moves day by day."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby

from pydantic import SecretStr

from deploy.local.demo.doors import in_order
from deploy.local.demo.usage import Reported
from deploy.local.errors import LocalStackError
from deploy.local.patience import Patience
from services.metering.backfill import Backfill
from services.metering.handlers.apply_usage import UsageApplier
from services.metering.settings import MeteringSettings
from shared.runtime.postgres.pool import Connection, connect


async def load_history(
    dsn: str,
    reported: Iterable[Reported],
    wanted: Mapping[str, Collection[str]],
    note: Callable[[datetime, int], None] = lambda _day, _count: None,
) -> int:
    """Apply usage as if each day's had been accepted at the end of that day; how many events were applied.

    ``wanted`` are the subscriptions that it is of, with their products.

    Raises:
        LocalStackError: metering does not know a subscription, or did not apply something.
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
                raise LocalStackError(f"usage of {day:%Y-%m-%d} was refused: {next(iter(applied.rejected.values()))}")
            note(day, count := count + len(batch))
        return count
    finally:
        await connection.close()


def _end_of_day(one: Reported) -> datetime:
    midnight = one.at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=1) - timedelta(seconds=1)


async def _wait_for(applier: UsageApplier, connection: Connection, wanted: Mapping[str, Collection[str]]) -> None:
    """Until metering's projection holds the subscriptions with their products."""
    patience = Patience("metering to know the demo's subscriptions")
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
        if patience.is_over(f"{len(missing)} are not known, {missing[0]} first"):
            raise LocalStackError(f"metering does not know {len(missing)} of the demo's subscriptions: {missing[0]}")
        await asyncio.sleep(0.2)
