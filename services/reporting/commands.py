"""The write path: a command goes out through the outbox, and its outcome is waited for.

The page uses ``Commands.submit`` in-process, with the payload classes of ``shared.events.commands``.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.reporting.domain.caller import Caller
from shared.events.envelope import Payload
from shared.events.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command. Neither ``decided`` nor ``refusal``: no outcome came in time, look again later."""

    command_id: UUID
    decided: bool
    refusal: Refusal | None = None
    resource: str | None = None
    version: int | None = None
    result: dict[str, Any] | None = None

    @property
    def accepted(self) -> bool:
        """Carried out, and visible to reads."""
        return self.decided and self.refusal is None


class Commands:
    """Sends commands for people."""

    async def submit(
        self, payload: Payload, caller: Caller, command_id: UUID | None = None, *, key: str | None = None
    ) -> Answer:
        """Send ``payload`` and wait (5 s) for its outcome. The same ``command_id`` of the same person gets the first
        answer. A new one is made up where it is ``None``. ``key`` is the Kafka key where it is not in the payload.

        Raises:
            ProblemError: ``idempotency_key_reused``.
        """
        raise NotImplementedError

    async def plan(
        self,
        caller: Caller,
        subscription: str,
        changes: dict[str, int],
        *,
        command_id: UUID | None = None,
        preview: bool = False,
        accept_overage: bool = False,
        override_reason: str | None = None,
        expected_version: int | None = None,
    ) -> Answer:
        """A plan of new allocations by product, decided on the consumption that reads show now."""
        raise NotImplementedError
