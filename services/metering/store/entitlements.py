"""What an entitlement answer stands on, in one indexed read: so all of it is of one moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.metering.domain.consumption import Measured
from shared.runtime.postgres import Connection

_LOAD = """
SELECT p.version, position.as_of, w.meter, w.window_start, w.aggregate, w.reached_at, w.revision,
    w.as_of AS measured_at
FROM projection p
CROSS JOIN (SELECT max(appended_at) AS as_of FROM usage_position) AS position
LEFT JOIN meter_window w ON w.subscription = $1 AND w.meter = ANY ($2::integer[]) AND w.window_start >= $3
ORDER BY w.meter, w.window_start
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """``version`` is the projection's; ``as_of`` up to when usage is applied; ``history`` the windows by meter."""

    version: int
    as_of: datetime | None
    history: dict[int, list[Measured]]


async def load_standing(connection: Connection, subscription: int, meters: Sequence[int], since: datetime) -> Standing:
    """The windows of these meters that begin at or after ``since``, with all that is needed beside them."""
    rows = await connection.fetch(_LOAD, subscription, meters, since)
    history: dict[int, list[Measured]] = {}
    for _, _, meter, *measured in map(tuple, rows):
        if meter is not None:
            history.setdefault(meter, []).append(Measured(*measured))
    return Standing(rows[0]["version"], rows[0]["as_of"], history)
