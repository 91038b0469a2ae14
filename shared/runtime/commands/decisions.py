"""The contract of command handlers, and the decisions that they return.

A handler decides one command and saves its changes, in the transaction of the batch. For a kind of command that comes
many times a second, a batch handler decides several from data that it fetches for all of them at once.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from shared.events.envelope import Event, Payload
from shared.events.refusals import Refusal
from shared.runtime.delivery.transaction import Transaction

Prefetched = TypeVar("Prefetched")
Change = TypeVar("Change")


CommandResult: TypeAlias = Mapping[str, object]
"""The answer to the requester, as JSON: a ``TypedDict`` of the command's owner."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A handler's part of the audit record.

    The inbox adds actor, time, address, outcome and correlation id.
    """

    action: str
    object: str
    account: str
    subscription: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command was carried out. Without ``audit`` it is not audited (a preview)."""

    resource: str | None = None
    version: int | None = None
    result: CommandResult | None = None
    audit: AuditEntry | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The command was refused: what the handler wrote and published is rolled back."""

    refusal: Refusal
    audit: AuditEntry | None = None


@dataclass(frozen=True, slots=True)
class Postponed:
    """The command cannot be decided yet.

    It is rolled back and retried in a transaction of its own.
    If it is still undecided ``within_seconds`` after the first attempt, it is ``refused``.
    """

    refused: Refused
    within_seconds: float


Decision = Accepted | Refused | Postponed
CommandHandler = Callable[[Transaction, Event[Any]], Awaitable[Decision]]


@dataclass(frozen=True, slots=True)
class Planned(Generic[Change]):
    """A decision, with the change to save and the events to publish.

    Each event comes with its subject.
    """

    decision: Decision
    change: Change | None = None
    events: Sequence[tuple[str, Payload]] = ()


@runtime_checkable
class BatchCommandHandler(Protocol[Prefetched, Change]):
    """Decides commands one at a time, or several of a batch together."""

    async def __call__(self, tx: Transaction, command: Event[Any]) -> Decision:
        """Decide one command alone, and save its changes."""
        ...

    def subject(self, command: Event[Any]) -> Hashable:
        """Return what the command changes.

        Two commands with the same subject are never decided together.
        """
        ...

    async def prefetch(self, tx: Transaction, commands: Sequence[Event[Any]]) -> Prefetched:
        """Lock and load what the commands need, in one round trip."""
        ...

    def decide(self, command: Event[Any], prefetched: Prefetched, now: datetime) -> Planned[Change] | None:
        """Decide without I/O.

        ``None``: decide it alone, because data that it needs was not fetched.
        """
        ...

    async def save(self, tx: Transaction, changes: Sequence[Change]) -> None:
        """Write the changes of all commands that were accepted, in one round trip."""
        ...
