"""Connecting to Kafka: client options, and messages when it fails."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import NotRequired, TypedDict

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from shared.runtime.process.settings import ServiceSettings

CONNECT_SECONDS = 1.0
"""Longest wait for a TCP connection, in seconds.

It distinguishes an absent Kafka from one that refuses.
"""

_SASL: dict[str, type[SASLPlaintext | SASLScram256 | SASLScram512]] = {
    "PLAIN": SASLPlaintext,
    "SCRAM-SHA-256": SASLScram256,
    "SCRAM-SHA-512": SASLScram512,
}


class ClientArguments(TypedDict):
    """Options of every aiokafka client: servers, name, security."""

    bootstrap_servers: list[str]
    client_id: str
    security_protocol: str
    ssl_context: ssl.SSLContext | None
    sasl_mechanism: NotRequired[str]
    sasl_plain_username: NotRequired[str | None]
    sasl_plain_password: NotRequired[str]


def client_arguments(settings: ServiceSettings, client: str) -> ClientArguments:
    """The options for one client, named ``client``."""
    arguments: ClientArguments = {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "client_id": client,
        "security_protocol": settings.kafka_protocol,
        "ssl_context": _ssl_context(settings),
    }
    if settings.kafka_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        arguments["sasl_plain_username"] = settings.kafka_username
        arguments["sasl_plain_password"] = _password(settings)
    return arguments


def broker_security(settings: ServiceSettings) -> BaseSecurity | None:
    """FastStream's security options; ``None``: plaintext."""
    context = _ssl_context(settings)
    if settings.kafka_protocol.startswith("SASL"):
        scheme = _SASL[settings.kafka_sasl_mechanism]
        return scheme(settings.kafka_username or "", _password(settings), ssl_context=context, use_ssl=bool(context))
    return BaseSecurity(ssl_context=context, use_ssl=True) if context else None


async def describe_kafka_error(error: BaseException, settings: ServiceSettings) -> str:
    """Say in a sentence whether Kafka is away, or answers and refuses this service."""
    servers = settings.kafka_bootstrap_servers
    host, _, port = servers.split(",")[0].strip().rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
    except (OSError, ValueError):
        return f"waiting for Kafka at {servers}: {error!r}"
    return (
        f"waiting for Kafka at {servers}, which takes connections but does not answer: it is starting, or protocol, "
        f"user or password (UNITPOOL_KAFKA_PROTOCOL and following) are wrong: {error!r}"
    )


async def partitions_of(settings: ServiceSettings, client: str, topics: Sequence[str]) -> list[TopicPartition]:
    """Load the partitions of those of the topics that exist.

    The topics are named without the installation's prefix.
    """
    admin = AIOKafkaAdminClient(**client_arguments(settings, client))
    await admin.start()
    try:
        described = await admin.describe_topics([f"{settings.kafka_topic_prefix}{topic}" for topic in topics])
    finally:
        await admin.close()
    return [TopicPartition(topic["topic"], one["partition"]) for topic in described for one in topic["partitions"]]


def _ssl_context(settings: ServiceSettings) -> ssl.SSLContext | None:
    if not settings.kafka_protocol.endswith("SSL"):
        return None
    return ssl.create_default_context(cafile=settings.kafka_ca_file)


def _password(settings: ServiceSettings) -> str:
    return settings.kafka_password.get_secret_value() if settings.kafka_password else ""
