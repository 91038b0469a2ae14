"""Context of a command: its actor, and what the audit log records of the decision."""

from dataclasses import dataclass
from typing import Any

from services.allocation.domain.permissions import Action, Actor
from shared.events.envelope import Event
from shared.events.ids import PersonId
from shared.events.refusals import Refusal
from shared.runtime.commands.decisions import Accepted, AuditEntry, CommandResult, Refused

VENDOR = "vendor"
"""Account of audit records that concern no customer, or an unknown one."""


def actor_of(command: Event[Any]) -> Actor:
    """The command's actor. The runtime has verified that there is one."""
    return Actor(PersonId(str(command.actor)), bool(command.actorvendor))


@dataclass(frozen=True, slots=True)
class Context:
    """What a command is about: its action, the audited object, and whose it is."""

    action: Action | str
    object: str
    account: str = VENDOR
    subscription: str | None = None

    def refused(self, refusal: Refusal, *, before: dict[str, Any] | None = None) -> Refused:
        """Build a refusal with its audit entry."""
        return Refused(refusal, self._entry(before=before))

    def accepted(
        self,
        resource: str,
        version: int,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
        result: CommandResult | None = None,
        reason: str | None = None,
    ) -> Accepted:
        """Build an acceptance with its audit entry."""
        return Accepted(resource, version, result, self._entry(before=before, after=after, reason=reason))

    def _entry(
        self,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
        reason: str | None = None,
    ) -> AuditEntry:
        return AuditEntry(
            action=self.action,
            object=self.object,
            account=self.account,
            subscription=self.subscription,
            before=before,
            after=after,
            reason=reason,
        )
