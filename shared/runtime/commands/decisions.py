"""What a command handler is, and what it answers.

A handler decides one command and saves what it changed, in the transaction of the batch. Where the same kind of command
comes many times a second, a batch handler decides several of a batch from what was fetched for all of them together.
"""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from shared.events.envelope import Event, Payload
from shared.events.refusals import Refusal
from shared.runtime.delivery.transaction import Transaction

Prefetched = TypeVar("Prefetched")
Change = TypeVar("Change")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What a handler knows about its decision; the wrapper adds who, when, from where and the outcome."""

    action: str
    object: str
    account: str
    subscription: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """Carried out. Without ``audit`` nothing is audited (a preview)."""

    resource: str | None = None
    version: int | None = None
    result: dict[str, Any] | None = None
    audit: AuditEntry | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Decided against: whatever the handler wrote or published is undone."""

    refusal: Refusal
    audit: AuditEntry | None = None


@dataclass(frozen=True, slots=True)
class Postponed:
    """It cannot be decided yet: what the handler wrote is undone, and it is tried again, in a transaction of its own.

    When ``within_seconds`` have passed since the first attempt, it is ``refused``.
    """

    refused: Refused
    within_seconds: float


Decision = Accepted | Refused | Postponed
CommandHandler = Callable[[Transaction, Event[Any]], Awaitable[Decision]]


@dataclass(frozen=True, slots=True)
class Planned(Generic[Change]):
    """A decision, the change that must be saved for it, and what is then published: each event with its subject."""

    decision: Decision
    change: Change | None = None
    events: Sequence[tuple[str, Payload]] = ()


@runtime_checkable
class BatchCommandHandler(Protocol[Prefetched, Change]):
    """Decides commands one by one, or several of a batch together."""

    async def __call__(self, tx: Transaction, command: Event[Any]) -> Decision:
        """Decide one command alone, and save what it changed."""
        ...

    def subject(self, command: Event[Any]) -> Hashable:
        """What the command decides on. Two commands on the same subject are never decided together."""
        ...

    async def prefetch(self, tx: Transaction, commands: Sequence[Event[Any]]) -> Prefetched:
        """Lock and load what the commands need, in one round trip."""
        ...

    def decide(self, command: Event[Any], prefetched: Prefetched, now: datetime) -> Planned[Change] | None:
        """Decide without I/O; ``None``: it must be decided alone, because what it needs was not fetched."""
        ...

    async def save(self, tx: Transaction, changes: Sequence[Change]) -> None:
        """Write the changes of all commands that were accepted, in one round trip."""
        ...
