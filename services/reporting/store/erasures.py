"""Erasures of people, and the end of their sessions."""

from shared.events.erasure import ErasureState
from shared.events.outcomes import AuditRecord
from shared.runtime.postgres.pool import Connection

_UPSERT = """
INSERT INTO erasures (person, version, state) VALUES ($1, $2, $3)
ON CONFLICT (person) DO UPDATE SET version = excluded.version, state = excluded.state
WHERE erasures.version < excluded.version
"""
_FIND = "SELECT state FROM erasures WHERE person = $1"
_CONFIRMATIONS = """
SELECT record FROM audit_log WHERE action = 'confirm-erasure' AND record ->> 'object' = $1 ORDER BY sequence
"""
_IS_CONFIRMED = """
SELECT EXISTS (
    SELECT FROM audit_log
    WHERE action = 'confirm-erasure' AND record ->> 'object' = $1 AND record -> 'after' ->> 'service' = $2
)
"""
_END_SESSIONS = "WITH ended AS (DELETE FROM sessions WHERE email = $1 RETURNING 1) SELECT count(*) FROM ended"
_FORGET_ROLE = """
DELETE FROM issuer_words WHERE email = $1 AND NOT EXISTS (SELECT FROM people WHERE email = $1)
"""


async def upsert_erasure(connection: Connection, state: ErasureState) -> None:
    """Upsert the state unless the stored one is as new or newer."""
    await connection.execute(_UPSERT, state.person, state.version, state.model_dump_json())


async def find_erasure(connection: Connection, person: str) -> ErasureState | None:
    """Find the erasure of a person."""
    state = await connection.fetchval(_FIND, person)
    return None if state is None else ErasureState.model_validate_json(state)


async def load_confirmations(connection: Connection, object: str) -> list[AuditRecord]:
    """Load the confirmations of an erasure, in order.

    ``object``: how the audit log names the person.
    """
    return [AuditRecord.model_validate_json(row["record"]) for row in await connection.fetch(_CONFIRMATIONS, object)]


async def is_confirmed(connection: Connection, object: str, service: str) -> bool:
    """Whether a service has confirmed an erasure."""
    return bool(await connection.fetchval(_IS_CONFIRMED, object, service))


async def end_sessions(connection: Connection, email: str) -> int:
    """Delete the sessions of whoever has this address; return how many there were.

    What the issuer asserted about them is deleted too, unless another person has the address.
    """
    await connection.execute(_FORGET_ROLE, email)
    return int(await connection.fetchval(_END_SESSIONS, email))
