"""Usage of a subscription over time."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Query, Response

from services.reporting.api.answers.usage import Usage, encode_usage
from services.reporting.api.fields import At, check_order, invalid
from services.reporting.api.identifiers import ProductInQuery, SubscriptionInPath, query_id
from services.reporting.api.routing import ApiContext, CurrentCaller, new_router
from services.reporting.domain.usage_periods import UsageInterval, WantedUsage
from services.reporting.domain.usage_spans import UnalignedZoneError
from services.reporting.queries.usage_periods import UsageQueries

MAX_ZONE_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Kept:
    """How long usage is stored, and what is shown without ``from``, in days."""

    days: int
    shown_days: int


KEPT: dict[UsageInterval, Kept] = {"window": Kept(366, 366), "day": Kept(395, 30), "hour": Kept(45, 2)}


def usage_router(context: ApiContext, queries: UsageQueries) -> APIRouter:
    """``/v1/subscriptions/{id}/usage``."""
    router, clock = new_router("subscriptions", "/subscriptions"), context.application.clock

    @router.get("/{subscription}/usage", response_model=Usage)
    async def usage(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        product: ProductInQuery,
        *,
        start: Annotated[At | None, Query(alias="from")] = None,
        end: Annotated[At | None, Query(alias="to")] = None,
        interval: UsageInterval = "window",
        meter: Annotated[str | None, Query(max_length=64)] = None,
        tz: Annotated[str | None, Query(max_length=MAX_ZONE_LENGTH)] = None,
        compare: Literal["previous"] | None = None,
    ) -> Response:
        """List what each window, day or hour that overlaps ``from`` to ``to`` measured.

        Windows are stored for 12 months, days for 395 days, hours for 45. Spans without usage have 0. Without ``from``,
        list the last 12 months, 30 days or 2 days, each product from its first measured span to its last. ``tz``: a
        time zone such as ``Europe/Berlin``, in which days begin. ``compare=previous`` adds the period of the same
        length before. The figures of days and hours are their own: unless ``additive``, they do not add up to a window.
        """
        zone = _zone(tz, interval)
        now = clock()
        kept_from = now - timedelta(days=KEPT[interval].days)
        check_kept(kept_from, interval, start, end)
        until = end or now
        since = start or max(until - timedelta(days=KEPT[interval].shown_days), kept_from)
        check_order(since, until)
        wanted = WantedUsage(
            interval=interval,
            zone=zone,
            start=since,
            end=until,
            kept_from=kept_from,
            product=product,
            meter=query_id("meter", meter),
            measured_only=start is None,
            compare=compare is not None,
        )
        try:
            shown = await queries.usage(caller, subscription, wanted)
        except UnalignedZoneError as error:
            raise invalid(
                "tz", "begins its days within an hour of UTC, and usage is stored by the hour; use another or none"
            ) from error
        return Response(encode_usage(shown, interval, zone, tz, compare=wanted.compare), media_type="application/json")

    return router


def _zone(name: str | None, interval: UsageInterval) -> tzinfo:
    if name is None:
        return UTC
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise invalid("tz", "is not the name of a time zone, such as Europe/Berlin") from error
    if interval == "window":
        raise invalid("tz", "is for interval=day and interval=hour: windows begin with the term")
    return zone


def check_kept(kept_from: datetime, interval: UsageInterval, start: datetime | None, end: datetime | None) -> None:
    """Check that the times are within the retention of the interval.

    Raises:
        ProblemError: one of them is before it.
    """
    for name, at in (("from", start), ("to", end)):
        if at is not None and at < kept_from:
            since, days = f"{kept_from:%Y-%m-%dT%H:%M:%SZ}", KEPT[interval].days
            raise invalid(name, f"is before {since}: usage by {interval} is retained for {days} days")
