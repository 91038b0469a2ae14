"""Records of the audit log in the order of their chains, for reports."""

from collections.abc import Sequence
from datetime import datetime

from services.reporting.domain.reports.audit import ChainedRecord
from services.reporting.store.audit import Filter
from shared.runtime.postgres.pool import Connection

# A record that is not wanted is returned without its text: so a statement reads at most its limit, and ends soon, even
# where few of millions are wanted.
_SCAN = """
SELECT chain_sequence, wanted, at, subscription, actor, action, outcome, event_id, source, previous_hash, hash,
    CASE WHEN wanted THEN recorded END
FROM (
    SELECT *,
        at <= $4
        AND ($5::text[] IS NULL OR coalesce(subscription = ANY($5), false) OR (
            subscription IS NULL AND account = ANY($6::text[]) AND record ->> 'object' <> ALL($7::text[])
        ))
        AND ($8::timestamptz IS NULL OR at >= $8) AND ($9::timestamptz IS NULL OR at < $9)
        AND ($10::text IS NULL OR action = $10)
        AND ($11::text IS NULL OR actor = ANY($11 || ARRAY(SELECT id FROM people WHERE email = $11)))
        AND ($12::text IS NULL OR outcome = $12) AS wanted
    FROM audit_log WHERE account = $1 AND chain_sequence > $2 ORDER BY chain_sequence LIMIT $3
) AS scanned
ORDER BY chain_sequence
"""
_COUNT = "SELECT coalesce(sum(records), 0)::bigint FROM audit_chains WHERE $1::text[] IS NULL OR account = ANY($1)"


async def scan_chain(
    connection: Connection, after: tuple[str, int], limit: int, as_of: datetime, wanted: Filter
) -> list[tuple[int, ChainedRecord | None]]:
    """Read the next ``limit`` numbers of a chain; ``None``: the record is not wanted.

    ``after``: account and number.
    """
    account, _ = after
    rows = await connection.fetch(
        _SCAN,
        *after,
        limit,
        as_of,
        wanted.subscriptions,
        wanted.accounts,
        wanted.hidden_objects,
        wanted.start,
        wanted.end,
        wanted.action,
        wanted.actor,
        wanted.outcome,
    )
    return [
        (number, ChainedRecord(account, number, *fields) if is_wanted else None) for number, is_wanted, *fields in rows
    ]


async def count_records(connection: Connection, accounts: Sequence[str] | None) -> int:
    """Count the records of these chains; ``None``: of all."""
    return int(await connection.fetchval(_COUNT, accounts))
