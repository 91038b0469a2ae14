"""The outcome of a command, and the audit record of a decision.

Both have the same shape from every service.
"""

from typing import Any, Final, Literal
from uuid import UUID

from shared.events.envelope import Frozen, Instant, Payload
from shared.events.refusals import Refusal

SYSTEM: Final = "system"
"""The actor where no person acts."""


class CommandDecided(Payload):
    """The outcome of a command.

    It is published after the events that the command caused, on the same topic and key.

    ``resource`` is the id of what was created or changed, ``version`` its version afterwards, ``result`` the result of
    a command without effect (a preview).
    """

    command_id: UUID
    command: str
    actor: str
    decided_at: Instant
    refusal: Refusal | None = None
    resource: str | None = None
    version: int | None = None
    result: dict[str, Any] | None = None

    @property
    def accepted(self) -> bool:
        """Whether the command was carried out."""
        return self.refusal is None


class AllocationCommandDecided(CommandDecided):
    event_type = "unitpool.allocation.command.decided.v1"


class MeteringCommandDecided(CommandDecided):
    event_type = "unitpool.metering.command.decided.v1"


class AlertsCommandDecided(CommandDecided):
    event_type = "unitpool.alerts.command.decided.v1"


class AuditRecord(Frozen):
    """Who did what, to what, with which result.

    ``account`` is ``"vendor"`` if no account is concerned.
    """

    at: Instant
    account: str
    subscription: str | None = None
    actor: str
    address: str | None = None
    action: str
    object: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    outcome: Literal["allowed", "denied"]
    reason: str | None = None
    correlation_id: str | None = None


class DecisionRecorded(Payload):
    """A decision for the audit log.

    Any service may publish it; the envelope's source names the service.
    """

    event_type = "unitpool.audit.decision.recorded.v1"
    record: AuditRecord
