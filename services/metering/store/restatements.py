"""Final windows that change: what they were just before, and the restatements that follow."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.metering.domain.consumption import Measured
from shared.events.metering import RestatementCause, WindowRestated
from shared.runtime.postgres.pool import Connection

# The first note of a window keeps what it was. Others wait for whoever is writing its restatement, then begin anew.
_NOTE = """
INSERT INTO restating AS r (subscription, meter, window_start, aggregate, reached_at, revision, as_of, cause, noted_at)
SELECT k.subscription, k.meter, k.window_start, coalesce(w.aggregate, 0), w.reached_at, coalesce(w.revision, 0),
       coalesce(w.as_of, $5), $4, $5
FROM unnest($1::integer[], $2::integer[], $3::timestamptz[]) AS k (subscription, meter, window_start)
LEFT JOIN meter_window w USING (subscription, meter, window_start)
ORDER BY 1, 2, 3
ON CONFLICT (subscription, meter, window_start) DO UPDATE SET
    cause = CASE WHEN r.cause = EXCLUDED.cause THEN r.cause ELSE 'several' END
"""
_LOCK = """
SELECT subscription, meter, window_start, cause, aggregate, reached_at, revision, as_of
FROM restating WHERE noted_at <= $1 ORDER BY noted_at, subscription, window_start LIMIT $2 FOR UPDATE SKIP LOCKED
"""
_FORGET = """
DELETE FROM restating r USING unnest($1::integer[], $2::integer[], $3::timestamptz[]) AS k (subscription, meter, start)
WHERE (r.subscription, r.meter, r.window_start) = (k.subscription, k.meter, k.start)
"""
# Tried again later, after what is noted meanwhile.
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
class Before:
    """What a meter had measured in a final window before that changed. Revision 0: nothing."""

    subscription: int
    meter: int
    cause: RestatementCause
    measured: Measured


async def note_final(connection: Connection, keys: Collection[Key], cause: RestatementCause, now: datetime) -> None:
    """Final windows are about to change: keep what they are."""
    if keys:
        ordered = sorted(keys)
        columns = [[key[place] for key in ordered] for place in range(3)]
        await connection.execute(_NOTE, *columns, cause, now)


async def lock_noted(connection: Connection, until: datetime, limit: int) -> list[Before]:
    """Some of what was noted until then; nobody notes these windows again before the transaction ends."""
    return [
        Before(row["subscription"], row["meter"], row["cause"], Measured(row["window_start"], *tuple(row)[4:]))
        for row in await connection.fetch(_LOCK, until, limit)
    ]


async def forget_noted(connection: Connection, noted: Sequence[Before]) -> None:
    """Their restatements are written."""
    columns = [one.subscription for one in noted], [one.meter for one in noted]
    await connection.execute(_FORGET, *columns, [one.measured.window_start for one in noted])


async def postpone_noted(connection: Connection, noted: Sequence[Before], until: datetime) -> None:
    """Their restatements cannot be written now."""
    columns = [one.subscription for one in noted], [one.meter for one in noted]
    await connection.execute(_POSTPONE, *columns, [one.measured.window_start for one in noted], until)


async def insert_restatements(connection: Connection, restated: Sequence[tuple[int, WindowRestated]]) -> None:
    """Keep both values, each with the subscription's number."""
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
    """Forget what was restated before then; how much that was."""
    return int((await connection.execute(_DELETE_OLD, before)).split()[-1])
