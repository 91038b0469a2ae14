"""The measured windows from which entitlement questions are answered.

One indexed read serves many questions, so that their answers are of one instant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.metering.domain.consumption import Measured
from shared.runtime.postgres.pool import Connection

# OFFSET 0: each part is read by the primary key, whatever the planner estimates for the arrays.
_LOAD = """
SELECT p.version, position.as_of, found.query, found.meter, found.window_start, found.aggregate, found.reached_at,
    found.revision, found.as_of AS measured_at
FROM projection p
CROSS JOIN (SELECT max(appended_at) AS as_of FROM usage_position) AS position
LEFT JOIN (
    unnest($1::integer[], $2::integer[], $3::integer[], $4::timestamptz[])
        AS part (query, subscription, meter, since)
    CROSS JOIN LATERAL (
        SELECT w.window_start, w.aggregate, w.reached_at, w.revision, w.as_of
        FROM meter_window w
        WHERE w.subscription = part.subscription AND w.meter = part.meter AND w.window_start >= part.since
        ORDER BY w.window_start
        OFFSET 0
    ) AS window_
) AS found (query, subscription, meter, since, window_start, aggregate, reached_at, revision, as_of) ON true
"""


@dataclass(frozen=True, slots=True)
class MeterQuery:
    """A subscription's number, and the first window to read for each meter.

    ``since`` gives the start of that window by meter number.
    """

    subscription: int
    since: dict[int, datetime]


NOTHING = MeterQuery(0, {})


@dataclass(frozen=True, slots=True)
class MeasuredState:
    """Measured windows for each query, as of one instant.

    ``version`` is the projection's; ``as_of``: the append time up to which usage is applied; ``histories``: for each
    query its windows by meter number, in order.
    """

    version: int
    as_of: datetime | None
    histories: list[dict[int, list[Measured]]] = field(default_factory=list)


async def load_measured_state(connection: Connection, queries: Sequence[MeterQuery]) -> MeasuredState:
    """Load the windows of all queries in one statement."""
    parts = [(n, one.subscription, meter, at) for n, one in enumerate(queries) for meter, at in one.since.items()]
    columns = zip(*parts, strict=True) if parts else [()] * 4
    rows = await connection.fetch(_LOAD, *map(list, columns))
    state = MeasuredState(rows[0]["version"], rows[0]["as_of"], [{} for _ in queries])
    for _, _, number, meter, *measured in map(tuple, rows):
        if number is not None:
            state.histories[number].setdefault(meter, []).append(Measured(*measured))
    return state
