"""The contracts as files: JSON Schemas, golden examples, AsyncAPI documents.

Every event and command has a JSON Schema and a golden example.
``python -m shared.events.schemas`` writes them, ``--check`` reports outdated ones. Neither accepts a change that would
break a reader or writer of the same major version: see ``compatibility``.
"""

import json
from pathlib import Path
from typing import Any

from shared.events.envelope import Event, Payload
from shared.events.topics import TOPICS

SCHEMAS = Path(__file__).parent
EXAMPLES = SCHEMAS.with_name("examples")
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def every_payload() -> tuple[type[Payload], ...]:
    """All events and commands that any topic carries, by name of their type."""
    found = {payload.event_type: payload for topic in TOPICS for payload in topic.carries}
    return tuple(found[name] for name in sorted(found))


def schema_of(payload: type[Payload]) -> dict[str, Any]:
    """The JSON Schema of the whole event: envelope and data, as a reader takes it."""
    schema = Event[payload].model_json_schema()  # type: ignore[valid-type]
    schema["properties"]["type"] = {"const": payload.event_type, "title": "Type", "type": "string"}
    schema["title"] = payload.event_type
    return {"$schema": DIALECT, "$id": f"urn:{payload.event_type}", **schema}


def schema_file(payload: type[Payload], folder: Path = SCHEMAS) -> Path:
    """The path of the payload's JSON Schema."""
    return folder / f"{payload.event_type}.json"


def example_file(payload: type[Payload], folder: Path = EXAMPLES) -> Path:
    """The path of the payload's golden example."""
    return folder / f"{payload.event_type}.json"


def json_text(document: object) -> str:
    """Format a document as the JSON text of a file, with a line break at the end."""
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=False) + "\n"
