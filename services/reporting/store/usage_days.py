"""Usage by UTC day, and by the hours of each."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from services.reporting.domain.span_figures import MeasuredDay
from shared.events.daily_usage import Hour, UsageDay, hours_text, read_hours
from shared.runtime.postgres.pool import Connection

_UPSERT_DAYS = """
INSERT INTO usage_days (subscription, product, meter, day, revision, aggregate, as_of)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::date[], $5::bigint[], $6::numeric[], $7::timestamptz[]
) AS new (subscription, product, meter, day, revision, aggregate, as_of)
ORDER BY 1, 2, 3, 4
ON CONFLICT (subscription, product, meter, day) DO UPDATE SET
    revision = excluded.revision, aggregate = excluded.aggregate, as_of = excluded.as_of
WHERE usage_days.revision < excluded.revision
"""
_UPSERT_HOURS = """
INSERT INTO usage_hours (subscription, product, meter, day, revision, hours)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::bigint[], $6::text[])
    AS new (subscription, product, meter, day, revision, hours)
ORDER BY 1, 2, 3, 4
ON CONFLICT (subscription, product, meter, day) DO UPDATE SET revision = excluded.revision, hours = excluded.hours
WHERE usage_hours.revision < excluded.revision
"""
_LOAD_DAYS = """
SELECT product, meter, day, aggregate, revision, as_of FROM usage_days
WHERE subscription = $1 AND day >= $2 AND day < $3
    AND ($4::text IS NULL OR product = $4) AND ($5::text IS NULL OR meter = $5)
ORDER BY product, meter, day
"""
_LOAD_HOURS = """
SELECT d.product, d.meter, d.day, d.revision, d.as_of, h.hours
FROM usage_days d JOIN usage_hours h USING (subscription, product, meter, day)
WHERE d.subscription = $1 AND d.day >= $2 AND d.day < $3
    AND ($4::text IS NULL OR d.product = $4) AND ($5::text IS NULL OR d.meter = $5)
ORDER BY d.product, d.meter, d.day
"""
_COUNT = """
SELECT count(*) FROM usage_days
WHERE ($1::text[] IS NULL OR subscription = ANY($1)) AND day >= $3 AND day <= $4
    AND ($2::text IS NULL OR subscription IN (SELECT id FROM subscriptions WHERE account = $2))
    AND ($5::text IS NULL OR product = $5)
"""
_FIND_OLD = """
SELECT DISTINCT subscription FROM usage_days WHERE day < $1 AND subscription <> ALL($2::text[])
"""
_PRUNE_DAYS = "DELETE FROM usage_days WHERE day < $1 AND subscription = ANY($2)"
_PRUNE_HOURS = "DELETE FROM usage_hours WHERE day < $1 AND subscription = ANY($2)"


class HoursRow(NamedTuple):
    """One meter's UTC day, with the hours that have usage, in order."""

    product: str
    meter: str
    day: date
    revision: int
    as_of: datetime
    hours: tuple[Hour, ...]


@dataclass(frozen=True, slots=True)
class WantedDays:
    """Days of a subscription, from ``first`` to before ``end``.

    They are of all products and meters unless one is given.
    """

    subscription: str
    first: date
    end: date
    product: str | None = None
    meter: str | None = None


async def upsert_days(connection: Connection, days: Iterable[UsageDay]) -> None:
    """Upsert each day that is newer than the stored one."""
    newest: dict[str, UsageDay] = {}
    for one in days:
        if one.key not in newest or newest[one.key].revision < one.revision:
            newest[one.key] = one
    several = list(newest.values())
    keys = (
        [one.subscription for one in several],
        [one.product for one in several],
        [one.meter for one in several],
        [one.day for one in several],
        [one.revision for one in several],
    )
    aggregates = [Decimal(one.aggregate) for one in several]
    await connection.execute(_UPSERT_DAYS, *keys, aggregates, [one.as_of for one in several])
    await connection.execute(_UPSERT_HOURS, *keys, [hours_text(one.hours) for one in several])


async def load_days(connection: Connection, wanted: WantedDays) -> dict[tuple[str, str], list[MeasuredDay]]:
    """Load days with usage, by product and meter, each in order of time."""
    rows = await connection.fetch(
        _LOAD_DAYS, wanted.subscription, wanted.first, wanted.end, wanted.product, wanted.meter
    )
    found: defaultdict[tuple[str, str], list[MeasuredDay]] = defaultdict(list)
    for product, meter, *day in rows:
        found[product, meter].append(MeasuredDay(*day))
    return found


async def load_hours(connection: Connection, wanted: WantedDays) -> list[HoursRow]:
    """Load days with usage and their hours, in order of product, meter and day."""
    rows = await connection.fetch(
        _LOAD_HOURS, wanted.subscription, wanted.first, wanted.end, wanted.product, wanted.meter
    )
    return [
        HoursRow(row["product"], row["meter"], row["day"], row["revision"], row["as_of"], read_hours(row["hours"]))
        for row in rows
    ]


async def count_days(  # noqa: PLR0917  # the statement's parameters
    connection: Connection,
    subscriptions: Sequence[str] | None,
    account: str | None,
    first: date,
    last: date,
    product: str | None,
) -> int:
    """Count days with usage, of these subscriptions or of all, with both days."""
    return int(await connection.fetchval(_COUNT, subscriptions, account, first, last, product))


async def find_old_days(connection: Connection, before: datetime, except_for: Sequence[str]) -> list[str]:
    """List subscriptions with expired days, without those of ``except_for``."""
    rows = await connection.fetch(_FIND_OLD, before.date(), list(except_for))
    return [row["subscription"] for row in rows]


async def prune_days(connection: Connection, before: datetime, subscriptions: Sequence[str]) -> None:
    """Delete days before the day of ``before``, and their hours.

    Only those of these subscriptions.
    """
    await connection.execute(_PRUNE_HOURS, before.date(), subscriptions)
    await connection.execute(_PRUNE_DAYS, before.date(), subscriptions)
