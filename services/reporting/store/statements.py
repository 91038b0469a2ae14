"""Statements as they were made."""

from collections.abc import Sequence
from datetime import datetime

from services.reporting.domain.statements import MadeStatement, StatementKey
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.postgres.pool import Connection

OWNERS_MAX = 1_000
"""Most subscriptions of one round of deletions."""

_FIND = "SELECT content, sha256 FROM statements WHERE subscription = $1 AND as_of = $2 AND format = $3"
_INSERT = """
INSERT INTO statements (subscription, as_of, format, content, sha256, made_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING RETURNING true
"""
# Events are keyed by what their command was about, mostly the subscription.
_IS_SET_ASIDE = "SELECT EXISTS (SELECT FROM set_aside_keys WHERE topic = $1 AND key = convert_to($2, 'UTF8'))"
_FIND_OLD = """
SELECT DISTINCT subscription FROM statements WHERE as_of < $1 AND subscription <> ALL($2::text[]) LIMIT $3
"""
_PRUNE = "DELETE FROM statements WHERE as_of < $1 AND subscription = ANY($2::text[])"


async def find_statement(connection: Connection, key: StatementKey) -> MadeStatement | None:
    """Find a statement that was made."""
    row = await connection.fetchrow(_FIND, key.subscription, key.as_of, key.format)
    return None if row is None else MadeStatement(row["content"], row["sha256"])


async def insert_statement(connection: Connection, key: StatementKey, made: MadeStatement, now: datetime) -> bool:
    """Insert a statement unless one is there; return whether it was inserted."""
    row = key.subscription, key.as_of, key.format, made.content, made.sha256, now
    return bool(await connection.fetchval(_INSERT, *row))


async def is_set_aside(connection: Connection, subscription: str) -> bool:
    """Whether events of a subscription wait for being applied, since one failed."""
    return bool(await connection.fetchval(_IS_SET_ASIDE, ALLOCATION_EVENTS_TOPIC.name, subscription))


async def find_old_statements(connection: Connection, before: datetime, except_for: Sequence[str]) -> list[str]:
    """List subscriptions with statements of instants before ``before``."""
    return [row["subscription"] for row in await connection.fetch(_FIND_OLD, before, list(except_for), OWNERS_MAX)]


async def prune_statements(connection: Connection, before: datetime, subscriptions: Sequence[str]) -> None:
    """Delete the statements of these subscriptions of instants before ``before``."""
    await connection.execute(_PRUNE, before, list(subscriptions))
