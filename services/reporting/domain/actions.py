"""What the audit log knows as actions, so that a filter by something else is not an empty list."""

from collections.abc import Iterable
from typing import Final

from shared.events.allocation import ALLOCATION_EVENTS
from shared.events.commands import ALERTS_COMMANDS, ALLOCATION_COMMANDS, METERING_COMMANDS
from shared.events.envelope import Payload

_BESIDE: Final = (
    "command",
    "finish-quarantine-replay",
    "override-plan",
    "preview-plan",
    "reverse-usage",
)
"""Of commands that cannot be told apart, of plans by their kind, and of what services do by themselves."""


def _short(types: Iterable[type[Payload]]) -> Iterable[str]:
    return (one.event_type.split(".", 2)[2].removesuffix(".v1") for one in types)


_COMMANDS: Final = (*ALLOCATION_COMMANDS, *ALERTS_COMMANDS, *METERING_COMMANDS)
ACTIONS: Final = frozenset(
    (*_short(_COMMANDS), *(one.event_type for one in _COMMANDS), *_short(ALLOCATION_EVENTS), *_BESIDE)
)
"""Commands by their short names (whole where their id was used twice), and changes that happen by themselves."""
