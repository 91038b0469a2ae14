"""The size limit of states.

Events carry states whole, audit records twice, and Kafka limits the size of a record.
"""

from typing import Final

from shared.events.envelope import Frozen

MAX_BYTES: Final = 400_000


def is_too_large(state: Frozen) -> bool:
    """Whether this state is too large for an event."""
    return len(state.model_dump_json().encode()) > MAX_BYTES
