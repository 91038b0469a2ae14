"""The actions that the audit log knows.

A filter by an unknown action is refused.
"""

from collections.abc import Iterable
from typing import Final

from shared.events.allocation import ALLOCATION_EVENTS, PEOPLE_EVENTS
from shared.events.commands import ALERTS_COMMANDS, ALLOCATION_COMMANDS, METERING_COMMANDS
from shared.events.envelope import Payload
from shared.events.erasure import CONFIRM

_OTHERS: Final = (
    "command",
    CONFIRM,
    "download-export",
    "export",
    "finish-quarantine-replay",
    "make-statement",
    "override-plan",
    "preview-erasure",
    "preview-plan",
    "reverse-usage",
)
"""Undecodable commands, kinds of plans, exports, statements, and the rest."""


def _short(types: Iterable[type[Payload]]) -> Iterable[str]:
    return (one.event_type.split(".", 2)[2].removesuffix(".v1") for one in types)


_COMMANDS: Final = (*ALLOCATION_COMMANDS, *ALERTS_COMMANDS, *METERING_COMMANDS)
ACTIONS: Final = frozenset(
    (*_short(_COMMANDS), *(one.event_type for one in _COMMANDS), *_short(ALLOCATION_EVENTS + PEOPLE_EVENTS), *_OTHERS)
)
"""Short names of commands, and of automatic changes.

Full names are included for ids that were used twice.
"""
