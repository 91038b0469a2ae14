"""Usage of a subscription by window, day and hour."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from services.reporting.domain.caller import Caller
from services.reporting.domain.usage import UsageItem, UsageRequest
from services.reporting.domain.usage_periods import UsageShown, WantedUsage, previous_period, shown_meters
from services.reporting.domain.usage_spans import SpanRequest
from services.reporting.queries.access import find_visible
from services.reporting.queries.usage import UsageSource, load_usage_source
from services.reporting.queries.usage_spans import SpanSource, load_span_source
from services.reporting.store.consistent_read import consistent_read
from shared.events.state import SubscriptionState
from shared.runtime.postgres.pool import Connection, Pool


class UsageQueries:
    """Reads of a subscription's usage."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock

    async def usage(self, caller: Caller, subscription: str, wanted: WantedUsage) -> UsageShown:
        """Return what each span measured, by product and meter.

        Raises:
            ProblemError: ``not_found``; ``forbidden``.
            UnalignedZoneError: days of the zone do not begin with an hour of UTC.
        """
        now = self._clock()
        async with consistent_read(self._pool) as connection:
            state = await find_visible(connection, caller, subscription)
            source = await _load(connection, state, wanted, now)
            previous = previous_period(wanted, state) if wanted.compare else None
            before = None
            if previous is not None:
                earlier = replace(wanted, start=previous.start, end=previous.end)
                before = await _load(connection, state, earlier, now)
        items = _of_meter(source.items(), wanted.meter)
        return UsageShown(
            items=items,
            meters=shown_meters(source.catalogue, {(one.product, one.meter) for one in items}),
            as_of=source.as_of,
            previous=previous,
            previous_items=_of_meter(before.items(), wanted.meter) if before else (),
        )


async def _load(
    connection: Connection, state: SubscriptionState, wanted: WantedUsage, now: datetime
) -> UsageSource | SpanSource:
    if wanted.interval == "window":
        request = UsageRequest(state, wanted.start, wanted.end, now, wanted.product, wanted.measured_only)
        return await load_usage_source(connection, request)
    return await load_span_source(
        connection,
        SpanRequest(
            subscription=state,
            interval=wanted.interval,
            zone=wanted.zone,
            start=wanted.start,
            end=wanted.end,
            now=now,
            product=wanted.product,
            meter=wanted.meter,
            measured_only=wanted.measured_only,
        ),
    )


def _of_meter(items: list[UsageItem], meter: str | None) -> list[UsageItem]:
    return items if meter is None else [one for one in items if one.meter == meter]
