"""Stored outcomes of commands.

They are loaded and saved with one statement each for all commands of a batch.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shared.runtime.delivery.transaction import TransientError
from shared.runtime.postgres.pool import Connection

# OFFSET 0 keeps one index lookup per command, even if the plan was made while the tables were small.
_LOAD = """
SELECT
    ARRAY(SELECT DISTINCT key FROM postponed_commands WHERE topic = $1) AS postponed_keys,
    ARRAY(
        SELECT ROW(command.actor, command.command_id, earlier.digest, earlier.outcome)
        FROM unnest($2::text[], $3::uuid[]) AS command (actor, command_id)
        CROSS JOIN LATERAL (
            SELECT i.digest, i.outcome FROM inbox AS i
            WHERE i.actor = command.actor AND i.command_id = command.command_id OFFSET 0
        ) AS earlier
    ) AS outcomes
"""
_INSERT = """
INSERT INTO inbox (actor, command_id, command, digest, outcome, decided_at)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::timestamptz[])
ON CONFLICT DO NOTHING
"""


class Identity(NamedTuple):
    """Identifies a command: two with the same identity are repeats."""

    actor: str
    command_id: UUID


class StoredOutcome(NamedTuple):
    """The digest of a decided command, and its outcome as JSON."""

    digest: bytes
    outcome: str


class Outcomes:
    """The outcomes of a batch's commands, loaded and new.

    ``postponed_keys``: the keys that have postponed commands.
    """

    def __init__(self, known: dict[Identity, StoredOutcome], postponed_keys: set[bytes | None]) -> None:
        self.postponed_keys = postponed_keys
        self._known = known
        self._new: list[tuple[Identity, str, StoredOutcome, datetime]] = []

    @classmethod
    async def load(cls, connection: Connection, topic: str, commands: Iterable[Identity]) -> "Outcomes":
        """Load the stored outcomes of ``commands``.

        The keys of ``topic`` with postponed commands are loaded too.
        """
        identities = list(commands)
        row = await connection.fetchrow(
            _LOAD, topic, [one.actor for one in identities], [one.command_id for one in identities]
        )
        assert row is not None  # noqa: S101 - it has no FROM
        known = {Identity(actor, id): StoredOutcome(digest, outcome) for actor, id, digest, outcome in row["outcomes"]}  # noqa: A001
        return cls(known, set(row["postponed_keys"]))

    def find(self, identity: Identity) -> StoredOutcome | None:
        """The outcome of a command, if it is decided."""
        return self._known.get(identity)

    def add(self, identity: Identity, command: str, decided: StoredOutcome, at: datetime) -> None:
        """Add an outcome; ``save`` stores it permanently."""
        self._known[identity] = decided
        self._new.append((identity, command, decided, at))

    async def save(self, connection: Connection) -> None:
        """Insert the outcomes that were added.

        Raises:
            TransientError: another process has decided one of these commands; roll the transaction back.
        """
        if not self._new:
            return
        inserted = await connection.execute(
            _INSERT,
            [identity.actor for identity, _, _, _ in self._new],
            [identity.command_id for identity, _, _, _ in self._new],
            [command for _, command, _, _ in self._new],
            [decided.digest for _, _, decided, _ in self._new],
            [decided.outcome for _, _, decided, _ in self._new],
            [at for _, _, _, at in self._new],
        )
        if int(inserted.rsplit(" ", 1)[-1]) < len(self._new):
            raise TransientError("another process decided a command of this batch at the same time", 0)
        self._new = []
