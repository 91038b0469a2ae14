"""What all commands have in common: who asks, and what the audit log is told of the decision."""

from dataclasses import dataclass
from typing import Any

from services.allocation.domain.permissions import Action, Actor
from shared import people
from shared.events.envelope import Event
from shared.events.refusals import Refusal
from shared.runtime.commands.decisions import Accepted, AuditEntry, Refused

VENDOR = "vendor"
"""The account of audit records that concern no customer, or one that is not known."""


def actor_of(command: Event[Any]) -> Actor:
    """Whose act it is. The runtime has verified that there is one."""
    return Actor(people.fold(str(command.actor)), bool(command.actorvendor))


@dataclass(frozen=True, slots=True)
class Context:
    """What is decided on."""

    action: Action | str
    object: str
    account: str = VENDOR
    subscription: str | None = None

    def refused(self, refusal: Refusal, *, before: dict[str, Any] | None = None) -> Refused:
        """Decided against."""
        return Refused(refusal, self._entry(before=before))

    def accepted(
        self,
        resource: str,
        version: int,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
        reason: str | None = None,
    ) -> Accepted:
        """Carried out."""
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
