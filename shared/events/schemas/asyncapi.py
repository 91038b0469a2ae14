"""AsyncAPI 3 documents, one per service, made of the table of topics.

They are built of FastStream's own document classes. FastStream itself could make them only of subscribers that it
decodes for; ours take raw batches, so it knows none of their messages. The payloads are references to the JSON Schemas
beside the events.
"""

from pathlib import Path
from typing import Any

from faststream.specification.asyncapi.v3_0_0.schema import (
    ApplicationInfo,
    ApplicationSchema,
    Channel,
    Message,
    Operation,
    Reference,
)
from faststream.specification.asyncapi.v3_0_0.schema.bindings import ChannelBinding
from faststream.specification.asyncapi.v3_0_0.schema.bindings.kafka import ChannelBinding as KafkaBinding
from faststream.specification.asyncapi.v3_0_0.schema.operations import Action

from shared.events.envelope import Payload
from shared.events.topics import TOPICS, ServiceName, Topic

DOCUMENTS = Path(__file__).parents[1] / "asyncapi"
VERSION = "1.0.0"
SCHEMAS_FROM_DOCUMENTS = "../schemas"


def document_of(service: ServiceName) -> dict[str, Any]:
    """What a service receives and sends."""
    received = [topic for topic in TOPICS if service in topic.readers]
    sent = [topic for topic in TOPICS if service in topic.writers]
    sent += [topic.dead_letters(service) for topic in received]
    document = ApplicationSchema(
        info=ApplicationInfo(
            title=f"Unitpool {service}",
            version=VERSION,
            description=f"The topics of the {service} service. Every message is a CloudEvent 1.0 in structured JSON.",
        ),
        defaultContentType="application/cloudevents+json",
        channels={topic.name: _channel(topic) for topic in {t.name: t for t in (*received, *sent)}.values()},
        operations={
            **{f"receive {topic.name}": _operation(Action.RECEIVE, topic) for topic in received},
            **{f"send {topic.name}": _operation(Action.SEND, topic) for topic in sent},
        },
    )
    jsonable: dict[str, Any] = document.to_jsonable()
    return jsonable


def _channel(topic: Topic) -> Channel:
    retained = "forever" if topic.retention is None else f"for {topic.retention.days} days"
    return Channel(
        address=topic.name,
        description=(
            f"Key: {topic.key}. Retained {retained}{', the newest record of each key' if topic.compacted else ''}."
        ),
        messages={payload.__name__: _message(payload) for payload in topic.carries},
        bindings=ChannelBinding(kafka=KafkaBinding(topic=topic.name, partitions=topic.partitions)),
    )


def _message(payload: type[Payload]) -> Message:
    says = payload.__doc__ if "__doc__" in vars(payload) else None
    return Message(
        name=payload.event_type,
        title=payload.__name__,
        summary=says.strip().splitlines()[0] if says else None,
        payload={"$ref": f"{SCHEMAS_FROM_DOCUMENTS}/{payload.event_type}.json"},
    )


def _operation(action: Action, topic: Topic) -> Operation:
    channel = f"#/channels/{topic.name}"
    return Operation(
        action=action,
        channel=Reference.model_validate({"$ref": channel}),
        messages=[Reference.model_validate({"$ref": f"{channel}/messages/{p.__name__}"}) for p in topic.carries],
    )
