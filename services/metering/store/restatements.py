"""Final windows that change: previous figures, and their restatements."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.metering.domain.consumption import Measured
from shared.events.metering import RestatementCause, WindowRestated
from shared.runtime.postgres.pool import Connection

# The first insert of a window saves its figures; later ones only combine causes. An insert waits for a transaction that
# writes the window's restatement, and then saves the figures again.
_INSERT_PREVIOUS = """
INSERT INTO restating AS r (subscription, meter, window_start, aggregate, reached_at, revision, as_of, cause, noted_at)
SELECT k.subscription, k.meter, k.window_start, coalesce(w.aggregate, 0), w.reached_at, coalesce(w.revision, 0),
       coalesce(w.as_of, $5), $4, $5
FROM unnest($1::integer[], $2::integer[], $3::timestamptz[]) AS k (subscription, meter, window_start)
LEFT JOIN meter_window w USING (subscription, meter, window_start)
ORDER BY 1, 2, 3
ON CONFLICT (subscription, meter, window_start) DO UPDATE SET
    cause = CASE WHEN r.cause = EXCLUDED.cause THEN r.cause ELSE 'several' END
"""
_LOCK_PREVIOUS = """
SELECT subscription, meter, window_start, cause, aggregate, reached_at, revision, as_of
FROM restating WHERE noted_at <= $1 ORDER BY noted_at, subscription, window_start LIMIT $2 FOR UPDATE SKIP LOCKED
"""
_DELETE_PREVIOUS = """
DELETE FROM restating r USING unnest($1::integer[], $2::integer[], $3::timestamptz[]) AS k (subscription, meter, start)
WHERE (r.subscription, r.meter, r.window_start) = (k.subscription, k.meter, k.start)
"""
# Retried later, behind windows noted since.
_POSTPONE = """
UPDATE restating r SET noted_at = $4
FROM unnest($1::integer[], $2::integer[], $3::timestamptz[]) AS k (subscription, meter, start)
WHERE (r.subscription, r.meter, r.window_start) = (k.subscription, k.meter, k.start)
"""
_INSERT = """
INSERT INTO restatement (restated_at, window_start, revision, subscription, product, cause, consumed_before,
                         consumed_after, figures_before, figures_after)
SELECT * FROM unnest($1::timestamptz[], $2::timestamptz[], $3::bigint[], $4::integer[], $5::text[], $6::text[],
                     $7::bigint[], $8::bigint[], $9::text[], $10::text[])
"""
_DELETE_OLD = "DELETE FROM restatement WHERE restated_at < $1"

Key = tuple[int, int, datetime]
"""Subscription number, meter number, window start."""


@dataclass(frozen=True, slots=True)
class PreviousFigures:
    """What a meter had measured in a final window before it changed.

    Revision 0 means that nothing had been measured.
    """

    subscription: int
    meter: int
    cause: RestatementCause
    measured: Measured


async def insert_previous_figures(
    connection: Connection, keys: Collection[Key], cause: RestatementCause, now: datetime
) -> None:
    """Save the present figures of final windows that are about to change.

    The caller changes them in the same transaction.
    """
    if keys:
        ordered = sorted(keys)
        columns = [[key[place] for key in ordered] for place in range(3)]
        await connection.execute(_INSERT_PREVIOUS, *columns, cause, now)


async def lock_previous_figures(connection: Connection, until: datetime, limit: int) -> list[PreviousFigures]:
    """Lock at most ``limit`` saved figures, oldest first.

    They were inserted at ``until`` or earlier. Figures locked by others are skipped.
    """
    return [
        PreviousFigures(row["subscription"], row["meter"], row["cause"], Measured(row["window_start"], *tuple(row)[4:]))
        for row in await connection.fetch(_LOCK_PREVIOUS, until, limit)
    ]


async def delete_previous_figures(connection: Connection, noted: Sequence[PreviousFigures]) -> None:
    """Delete saved figures whose restatements are written."""
    columns = [one.subscription for one in noted], [one.meter for one in noted]
    await connection.execute(_DELETE_PREVIOUS, *columns, [one.measured.window_start for one in noted])


async def postpone_restatements(connection: Connection, noted: Sequence[PreviousFigures], until: datetime) -> None:
    """Have restatements that could not be written tried again at ``until``."""
    columns = [one.subscription for one in noted], [one.meter for one in noted]
    await connection.execute(_POSTPONE, *columns, [one.measured.window_start for one in noted], until)


async def insert_restatements(connection: Connection, restated: Sequence[tuple[int, WindowRestated]]) -> None:
    """Insert restatements, given as (subscription number, event)."""
    if restated:
        rows = [_row(subscription, one) for subscription, one in restated]
        await connection.execute(_INSERT, *map(list, zip(*rows, strict=True)))


def _row(subscription: int, restated: WindowRestated) -> tuple[object, ...]:
    before, after = restated.before, restated.after
    return (
        restated.restated_at,
        restated.window_start,
        after.revision,
        subscription,
        restated.product,
        restated.cause,
        before.consumed if before else None,
        after.consumed,
        before.model_dump_json() if before else None,
        after.model_dump_json(),
    )


async def delete_old(connection: Connection, before: datetime) -> int:
    """Delete restatements made before then. Return how many."""
    return int((await connection.execute(_DELETE_OLD, before)).split()[-1])
