"""One example of every event and command.

Together they are a plausible history of the invented customer Acme.
"""

from typing import Any

from shared.events.envelope import Event, Payload
from shared.events.schemas.examples.commands import COMMANDS
from shared.events.schemas.examples.events import EVENTS
from shared.events.schemas.examples.nouns import AT, COMMAND, PAULA_ID, Data


class NoExampleError(LookupError):
    """A type has no example yet: add one to ``shared/events/schemas/examples/``."""


def example_of(payload: type[Payload]) -> dict[str, Any]:
    """Return a whole event of this type, as first written into its golden file.

    Raises:
        NoExampleError: there is no example of this type.
    """
    name = payload.event_type
    data = {**EVENTS, **COMMANDS}.get(name)
    if data is None:
        raise NoExampleError(f"{name} has no example yet: add one to shared/events/schemas/examples/")
    envelope: Data = {
        "specversion": "1.0",
        "id": COMMAND if name in COMMANDS else f"example-of-{name}",
        "source": "/reporting" if name in COMMANDS else _source(name),
        "type": name,
        "time": AT,
        "datacontenttype": "application/json",
    }
    if name in COMMANDS:
        envelope |= {"correlationid": COMMAND, "actor": PAULA_ID}
        envelope |= {"actorvendor": False, "actoraddress": "203.0.113.7"}
    if name.startswith("unitpool.platform."):
        envelope["subject"] = "acme-flex"
    Event[payload].model_validate({**envelope, "data": data})  # type: ignore[valid-type]
    return {**envelope, "data": data}


def _source(name: str) -> str:
    producer = name.split(".")[1]
    return "/platforms/exposure-scan" if producer == "platform" else f"/{producer.replace('audit', 'allocation')}"
