"""Commands sent on behalf of people, with outcomes and created secrets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.reporting.store.notifications import notify_outcome
from shared.events.outcomes import CommandDecided
from shared.runtime.postgres.pool import Connection, Row

# Somebody is another person in each account: a command id that they used as any of them is used.
_INSERT = """
INSERT INTO commands (actor, command_id, command, subscription, digest, correlation_id, sent_at, sealed_secret)
SELECT $1, $2, $3, $4, $5, $6, $7, $8
WHERE NOT EXISTS (
    SELECT FROM people AS p JOIN commands AS c ON c.actor = p.id AND c.command_id = $2 WHERE p.email = $9
)
ON CONFLICT DO NOTHING
RETURNING true
"""
_FIND = """
SELECT c.actor, c.command_id, c.command, c.subscription, c.digest, c.sent_at, c.sealed_secret, o.outcome
FROM commands AS c LEFT JOIN outcomes AS o ON o.actor = c.actor AND o.command_id = c.command_id
WHERE c.actor = $1 AND c.command_id = $2
"""
_FIND_OWN = """
SELECT c.actor, c.command_id, c.command, c.subscription, c.digest, c.sent_at, c.sealed_secret, o.outcome
FROM people AS p
JOIN commands AS c ON c.actor = p.id
LEFT JOIN outcomes AS o ON o.actor = c.actor AND o.command_id = c.command_id
WHERE p.email = $1 AND c.command_id = $2
"""
_MARK_SHOWN = """
UPDATE commands SET secret_shown_at = now()
WHERE actor = $1 AND command_id = $2 AND sealed_secret IS NOT NULL AND secret_shown_at IS NULL
"""
_TAKE_SEALED = """
WITH kept AS (
    SELECT c.actor, c.command_id, c.sealed_secret
    FROM people AS p
    JOIN commands AS c ON c.actor = p.id
    JOIN outcomes AS o ON o.actor = c.actor AND o.command_id = c.command_id
    WHERE p.email = $1 AND c.command_id = $2 AND c.sealed_secret IS NOT NULL AND c.secret_shown_at IS NULL
        AND coalesce(o.outcome -> 'refusal', 'null') = 'null'
    FOR UPDATE OF c
)
UPDATE commands AS c SET sealed_secret = NULL, secret_shown_at = now()
FROM kept WHERE c.actor = kept.actor AND c.command_id = kept.command_id
RETURNING kept.sealed_secret
"""
_FIND_SEALED = """
SELECT DISTINCT actor FROM commands WHERE sealed_secret IS NOT NULL AND sent_at < $1 AND actor <> ALL($2::text[])
"""
_ERASE_SEALED = """
UPDATE commands SET sealed_secret = NULL
WHERE sealed_secret IS NOT NULL AND sent_at < $1 AND ($2::text[] IS NULL OR actor = ANY($2))
"""
_INSERT_OUTCOME = """
INSERT INTO outcomes (actor, command_id, outcome) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING true
"""


@dataclass(frozen=True, slots=True)
class SentCommand:
    """A command, with its outcome if there is one."""

    actor: str
    command_id: UUID
    command: str
    subscription: str | None
    digest: bytes
    sent_at: datetime
    sealed_secret: str | None
    outcome: CommandDecided | None = None


async def insert_command(connection: Connection, sent: SentCommand, email: str, correlation_id: str | None) -> bool:
    """Insert a command; return whether it is new.

    It is not if somebody with this address has used its id before.
    """
    return bool(
        await connection.fetchval(
            _INSERT,
            sent.actor,
            sent.command_id,
            sent.command,
            sent.subscription,
            sent.digest,
            correlation_id,
            sent.sent_at,
            sent.sealed_secret,
            email,
        )
    )


async def find_command(connection: Connection, actor: str, command_id: UUID) -> SentCommand | None:
    """Find a command of a person."""
    return _sent(await connection.fetchrow(_FIND, actor, command_id))


async def find_own_command(connection: Connection, email: str, command_id: UUID) -> SentCommand | None:
    """Find a command of somebody with this address, in whichever account they sent it."""
    return _sent(await connection.fetchrow(_FIND_OWN, email, command_id))


async def mark_secret_shown(connection: Connection, actor: str, command_id: UUID) -> None:
    """Mark the secret as shown in the command's answer.

    A repeat of the command still shows it.
    """
    await connection.execute(_MARK_SHOWN, actor, command_id)


async def take_secret(connection: Connection, email: str, command_id: UUID) -> str | None:
    """Return and erase the sealed secret of a command that was accepted.

    It was sent by somebody with this address.

    Returns ``None`` if there is none, or if it was shown or erased before.
    """
    sealed: str | None = await connection.fetchval(_TAKE_SEALED, email, command_id)
    return sealed


async def find_old_secrets(connection: Connection, before: datetime, except_for: Sequence[str]) -> list[str]:
    """List people with secrets of commands sent before ``before``.

    Those of ``except_for`` are left out.
    """
    return [row["actor"] for row in await connection.fetch(_FIND_SEALED, before, list(except_for))]


async def erase_secrets(connection: Connection, before: datetime, actors: Sequence[str] | None = None) -> None:
    """Erase secrets of commands sent before ``before``, shown or not.

    ``actors``: the people whose secrets; ``None``: everyone's.
    """
    await connection.execute(_ERASE_SEALED, before, actors)


async def insert_outcome(connection: Connection, decided: CommandDecided) -> None:
    """Insert the first outcome of a command, and notify the request that waits for it."""
    if await connection.fetchval(_INSERT_OUTCOME, decided.actor, decided.command_id, decided.model_dump_json()):
        await notify_outcome(connection, decided.command_id)


def _sent(row: Row | None) -> SentCommand | None:
    if row is None:
        return None
    found = dict(row)
    outcome = found.pop("outcome")
    return SentCommand(**found, outcome=CommandDecided.model_validate_json(outcome) if outcome else None)
