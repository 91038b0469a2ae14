"""The limit of a state in an event: far below the largest record of Kafka, as an audit record has it twice."""

from typing import Final

from shared.events.envelope import Frozen

MAX_BYTES: Final = 400_000


def is_too_large(state: Frozen) -> bool:
    """Whether this state is too large for an event."""
    return len(state.model_dump_json().encode()) > MAX_BYTES
