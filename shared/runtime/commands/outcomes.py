"""Commands that were decided, with their outcomes: looked for once, and kept once, for all commands of a batch."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shared.runtime.delivery.transaction import TransientError
from shared.runtime.postgres.pool import Connection

# OFFSET 0 keeps one index lookup per command, even if the plan was made while the tables were small.
_LOAD = """
SELECT
    ARRAY(SELECT DISTINCT key FROM postponed_commands WHERE topic = $1) AS waiting,
    ARRAY(
        SELECT ROW(command.actor, command.command_id, earlier.digest, earlier.outcome)
        FROM unnest($2::text[], $3::uuid[]) AS command (actor, command_id)
        CROSS JOIN LATERAL (
            SELECT i.digest, i.outcome FROM inbox AS i
            WHERE i.actor = command.actor AND i.command_id = command.command_id OFFSET 0
        ) AS earlier
    ) AS decided
"""
_INSERT = """
INSERT INTO inbox (actor, command_id, command, digest, outcome, decided_at)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::timestamptz[])
ON CONFLICT DO NOTHING
"""


class Identity(NamedTuple):
    """What makes a command the same one."""

    actor: str
    command_id: UUID


class Decided(NamedTuple):
    """What was asked, as a digest, and its outcome as JSON."""

    digest: bytes
    outcome: str


class Decisions:
    """Those of the commands of one batch, from before and from now; and the keys of which commands wait."""

    def __init__(self, known: dict[Identity, Decided], waiting: set[bytes | None]) -> None:
        self.waiting = waiting
        self._known = known
        self._new: list[tuple[Identity, str, Decided, datetime]] = []

    @classmethod
    async def load(cls, connection: Connection, topic: str, asked: Iterable[Identity]) -> "Decisions":
        """What was decided before."""
        identities = list(asked)
        row = await connection.fetchrow(
            _LOAD, topic, [one.actor for one in identities], [one.command_id for one in identities]
        )
        assert row is not None  # noqa: S101 - it has no FROM
        known = {Identity(actor, id): Decided(digest, outcome) for actor, id, digest, outcome in row["decided"]}  # noqa: A001
        return cls(known, set(row["waiting"]))

    def find(self, identity: Identity) -> Decided | None:
        """The command's decision, if it has one."""
        return self._known.get(identity)

    def keep(self, identity: Identity, command: str, decided: Decided, at: datetime) -> None:
        """A decision for ever, from ``save`` on."""
        self._known[identity] = decided
        self._new.append((identity, command, decided, at))

    async def save(self, connection: Connection) -> None:
        """Write what was decided now.

        Raises:
            TransientError: somebody else has decided one of these commands meanwhile: nothing of this may stay.
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
            raise TransientError("a command was decided by somebody else meanwhile", 0)
        self._new = []
