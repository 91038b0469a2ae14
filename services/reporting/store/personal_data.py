"""Everything that is held of a person, read row by row."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shared.runtime.postgres.pool import Connection

_PREFETCH: Final = 200

_SUBSCRIPTIONS: Final = """
SELECT jsonb_build_object('subscription', subscription, 'role', role) FROM subscription_people
WHERE person = $1 ORDER BY subscription, role
"""
_ROLES: Final = """
SELECT jsonb_build_object('account', account, 'role', role, 'product', product) FROM roles
WHERE state -> 'members' ? $1 ORDER BY account, role
"""
_COMMANDS: Final = """
SELECT jsonb_build_object(
    'command_id', command_id, 'command', command, 'subscription', subscription, 'sent_at', sent_at
) FROM commands WHERE actor = $1 ORDER BY sent_at, command_id
"""
_ALLOCATIONS: Final = """
SELECT to_jsonb(one) - 'actor' FROM allocation_changes AS one WHERE actor = $1 ORDER BY at, event_id, product
"""
_ALERTS_ACKNOWLEDGED: Final = """
SELECT jsonb_build_object('id', id, 'subscription', subscription, 'at', state ->> 'acknowledged_at') FROM alerts
WHERE state ->> 'acknowledged_by' = $1 ORDER BY id
"""
_CHANNELS: Final = """
SELECT jsonb_build_object(
    'id', id, 'subscription', subscription, 'created_at', state ->> 'created_at', 'removed_at', removed_at
) FROM channels WHERE state ->> 'created_by' = $1 ORDER BY id
"""
_INGEST_KEYS: Final = """
SELECT jsonb_build_object('id', id, 'product', product, 'created_at', state ->> 'created_at') FROM ingest_keys
WHERE state ->> 'created_by' = $1 ORDER BY id
"""
_REPLAYS: Final = """
SELECT jsonb_build_object('id', id, 'requested_at', requested_at) FROM quarantine_replays
WHERE state::jsonb ->> 'requested_by' = $1 ORDER BY id
"""
_EXPORTS: Final = """
SELECT jsonb_build_object(
    'id', id, 'report', report, 'format', format, 'state', state, 'requested_at', requested_at
) FROM exports WHERE requested_by = $1 ORDER BY requested_at, id
"""
_OF_PERSON: Final[Mapping[str, str]] = {
    "subscriptions": _SUBSCRIPTIONS,
    "roles": _ROLES,
    "commands": _COMMANDS,
    "allocations": _ALLOCATIONS,
    "alerts_acknowledged": _ALERTS_ACKNOWLEDGED,
    "channels": _CHANNELS,
    "ingest_keys": _INGEST_KEYS,
    "replays": _REPLAYS,
    "exports": _EXPORTS,
}
"""By section, a statement whose only parameter is the person."""
_SESSIONS: Final = """
SELECT jsonb_build_object('created_at', created_at, 'seen_at', seen_at, 'expires_at', expires_at) FROM sessions
WHERE email = $1 ORDER BY created_at
"""
_AUDIT: Final = """
SELECT jsonb_build_object('sequence', sequence, 'record', record) FROM audit_log
WHERE actor = $1 OR (account = $2 AND strpos(record::text, $1) > 0)
ORDER BY sequence
"""
_COUNT: Final = """
SELECT
    (SELECT count(*) FROM sessions WHERE email = $2) AS sessions,
    (SELECT count(*) FROM channels WHERE removed_at IS NULL AND state ->> 'created_by' = $1) AS channels,
    (SELECT count(*) FROM audit_log WHERE actor = $1 AND record ->> 'reason' LIKE 'sealed:' || $1 || ':%') AS texts
"""


@dataclass(frozen=True, slots=True)
class Whose:
    """A person: their account, and their address if it is known."""

    person: str
    account: str | None
    email: str | None


def sections(connection: Connection, whose: Whose) -> Iterator[tuple[str, AsyncIterator[str]]]:
    """Yield the sections of a person's data, each a name and its rows as JSON texts.

    Call it in a transaction.
    """
    for name, statement in _OF_PERSON.items():
        yield name, _rows(connection, statement, whose.person)
    yield "sessions", _rows(connection, _SESSIONS, whose.email)
    yield "audit", _rows(connection, _AUDIT, whose.person, whose.account)


async def _rows(connection: Connection, statement: str, *values: object) -> AsyncIterator[str]:
    async for (text,) in connection.cursor(statement, *values, prefetch=_PREFETCH):
        yield text


async def count_held(connection: Connection, person: str, email: str | None) -> dict[str, int]:
    """Count the sessions, channels in use and sealed texts of a person."""
    row = await connection.fetchrow(_COUNT, person, email)
    return dict(row) if row else {}
