"""What entitlement answers stand on, in one indexed read for many: so all of it is of one moment."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.metering.domain.consumption import Measured
from shared.runtime.postgres.pool import Connection

# OFFSET 0: each part is looked up by the primary key, whatever the planner guesses of the arrays' lengths.
_LOAD = """
SELECT p.version, position.as_of, found.asked, found.meter, found.window_start, found.aggregate, found.reached_at,
    found.revision, found.as_of AS measured_at
FROM projection p
CROSS JOIN (SELECT max(appended_at) AS as_of FROM usage_position) AS position
LEFT JOIN (
    unnest($1::integer[], $2::integer[], $3::integer[], $4::timestamptz[])
        AS part (asked, subscription, meter, since)
    CROSS JOIN LATERAL (
        SELECT w.window_start, w.aggregate, w.reached_at, w.revision, w.as_of
        FROM meter_window w
        WHERE w.subscription = part.subscription AND w.meter = part.meter AND w.window_start >= part.since
        ORDER BY w.window_start
        OFFSET 0
    ) AS window_
) AS found (asked, subscription, meter, since, window_start, aggregate, reached_at, revision, as_of) ON true
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A subscription's number, and for each meter's number the first window that may count."""

    subscription: int
    since: dict[int, datetime]


NOTHING = Asked(0, {})


@dataclass(frozen=True, slots=True)
class Standing:
    """``version`` is the projection's; ``as_of`` up to when usage is applied; ``histories`` of each that was asked for:
    windows by meter, in order."""

    version: int
    as_of: datetime | None
    histories: list[dict[int, list[Measured]]] = field(default_factory=list)


async def load_standing(connection: Connection, asked: Sequence[Asked]) -> Standing:
    """The windows that were asked for, with all that is needed beside them."""
    parts = [(n, one.subscription, meter, at) for n, one in enumerate(asked) for meter, at in one.since.items()]
    columns = zip(*parts, strict=True) if parts else [()] * 4
    rows = await connection.fetch(_LOAD, *map(list, columns))
    standing = Standing(rows[0]["version"], rows[0]["as_of"], [{} for _ in asked])
    for _, _, number, meter, *measured in map(tuple, rows):
        if number is not None:
            standing.histories[number].setdefault(meter, []).append(Measured(*measured))
    return standing
