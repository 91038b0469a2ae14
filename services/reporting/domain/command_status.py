"""Sent commands and their outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from shared.events.outcomes import CommandDecided


class SentRow(Protocol):
    """The row of a sent command."""

    @property
    def command_id(self) -> UUID: ...
    @property
    def command(self) -> str: ...
    @property
    def subscription(self) -> str | None: ...
    @property
    def sent_at(self) -> datetime: ...
    @property
    def outcome(self) -> CommandDecided | None: ...


@dataclass(frozen=True, slots=True)
class CommandStatus:
    """A command and its outcome.

    ``result`` and ``refusal`` are JSON, as the command's owner wrote them.
    """

    command_id: str
    command: str
    subscription: str | None
    sent_at: datetime
    status: Literal["pending", "accepted", "refused"]
    decided_at: datetime | None = None
    resource: str | None = None
    version: int | None = None
    result: Mapping[str, object] | None = None
    refusal: Mapping[str, object] | None = None


def command_status(sent: SentRow) -> CommandStatus:
    """Combine a sent command with its outcome."""
    outcome, id = sent.outcome, str(sent.command_id)  # noqa: A001
    if outcome is None:
        return CommandStatus(id, sent.command, sent.subscription, sent.sent_at, "pending")
    return CommandStatus(
        command_id=id,
        command=sent.command,
        subscription=sent.subscription,
        sent_at=sent.sent_at,
        status="accepted" if outcome.accepted else "refused",
        decided_at=outcome.decided_at,
        resource=outcome.resource,
        version=outcome.version,
        result=outcome.result,
        refusal=outcome.refusal.model_dump() if outcome.refusal else None,
    )
