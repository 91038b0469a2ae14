"""What travels whole in an event must stay far below what Kafka takes; an audit record holds it twice."""

from typing import Final

from shared.events.envelope import Frozen

MAX_BYTES: Final = 400_000


def is_too_large(state: Frozen) -> bool:
    """Whether this state is too large for an event."""
    return len(state.model_dump_json().encode()) > MAX_BYTES
