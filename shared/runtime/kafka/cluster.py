"""Metadata of topics in Kafka: ids, settings, ends.

They are queried over a connection of their own.
Consumers know these only from what they fetch, so that their knowledge is out of date once they stall.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from shared.runtime.kafka.client import client_arguments
from shared.runtime.process.settings import ServiceSettings

ANSWER_SECONDS = 10
"""Longest time for one query, as the client's own timeouts may be longer."""
_LONGEST_MS = 35 * 86_400_000
"""Age at which the search for a record's append time begins."""
_PRECISION_MS = 1000
_TOPIC, _LATEST, _ANY_REPLICA, _READ_COMMITTED = 2, -1, -1, 1


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic in Kafka.

    Recreated under the same name it has another id. ``leaders``: broker ids by partition.
    """

    id: UUID
    leaders: Mapping[int, int]


class Cluster:
    """Queries Kafka for topics, named without the installation's prefix.

    All methods raise a KafkaError if Kafka does not answer.
    """

    def __init__(self, settings: ServiceSettings, client: str) -> None:
        self._arguments = client_arguments(settings, f"{client}-watch")
        self._prefix = settings.kafka_topic_prefix
        self._client: AIOKafkaClient | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """Disconnect; the next query reconnects."""
        client, self._client = self._client, None
        if client:
            await client.close()

    async def describe(self, topics: Collection[str]) -> dict[str, TopicDescription]:
        """Describe those of the topics that exist."""
        answer = await self._ask(_TopicsRequest([f"{self._prefix}{topic}" for topic in topics]))
        found: dict[str, TopicDescription] = {}
        for _error, name, topic_id, _internal, partitions, *_ in answer.topics:
            if partitions:
                leaders = {partition: leader for _, partition, leader, *_ in partitions}
                found[name.removeprefix(self._prefix)] = TopicDescription(topic_id, leaders)
        return found

    async def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Load the settings of the topics, without those that may not be read."""
        resources = [(_TOPIC, f"{self._prefix}{topic}", None) for topic in topics]
        answer = await self._ask(DescribeConfigsRequest(resources))
        return {
            name.removeprefix(self._prefix): {key: value for key, value, *_ in entries}
            for error, _message, _type, name, entries in answer.resources
            if not error
        }

    async def ends(self, described: Mapping[str, TopicDescription]) -> dict[str, dict[int, int]]:
        """Load the last stable offset of each partition.

        It is the end, before open transactions.
        """
        found: dict[str, dict[int, int]] = {topic: {} for topic in described}
        by_leader: dict[int, list[tuple[str, list[tuple[int, int]]]]] = {}
        for topic, description in described.items():
            for leader in set(description.leaders.values()):
                places = [(partition, _LATEST) for partition, one in description.leaders.items() if one == leader]
                by_leader.setdefault(leader, []).append((f"{self._prefix}{topic}", places))
        for leader, wanted in by_leader.items():
            for topic, partition, offset in await self._offsets(leader, wanted):
                found[topic][partition] = offset
        return found

    async def find_append_time(self, topic: str, partition: int, leader: int, offset: int) -> datetime | None:
        """Find when the record at ``offset`` was appended, to about a second.

        ``None``: no record from there on is younger than 35 days. Kafka only finds offsets by time, so this is a binary
        search over the last 35 days.
        """
        before, after = int(time.time() * 1000) - _LONGEST_MS, int(time.time() * 1000) + 60_000
        if await self._first_from(topic, partition, leader, before) is None:
            return None
        while after - before > _PRECISION_MS:
            middle = (before + after) // 2
            first = await self._first_from(topic, partition, leader, middle)
            before, after = (middle, after) if first is not None and first <= offset else (before, middle)
        return datetime.fromtimestamp(before / 1000, UTC)

    async def _first_from(self, topic: str, partition: int, leader: int, milliseconds: int) -> int | None:
        """Find the first offset appended at that time or later."""
        wanted = [(f"{self._prefix}{topic}", [(partition, milliseconds)])]
        offset = next((offset for *_, offset in await self._offsets(leader, wanted)), -1)
        return None if offset < 0 else offset

    async def _offsets(
        self, leader: int, wanted: list[tuple[str, list[tuple[int, int]]]]
    ) -> list[tuple[str, int, int]]:
        answer = await self._ask(OffsetRequest(_ANY_REPLICA, _READ_COMMITTED, wanted), leader)
        return [
            (topic.removeprefix(self._prefix), partition, offset)
            for topic, partitions in answer.topics
            for partition, error, _time, offset, *_ in partitions
            if not error
        ]

    async def _ask(self, request: Request[Any], node: int | None = None) -> Any:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                client = await self._connected()
                asked = client.get_random_node() if node is None else node
                if asked is None:
                    raise KafkaConnectionError("no broker is known")
                return await client.send(asked, request)
        except TimeoutError as error:
            raise KafkaTimeoutError(f"no answer within {ANSWER_SECONDS} s") from error
        except OSError as error:
            raise KafkaError(f"no connection: {error!r}") from error

    async def _connected(self) -> AIOKafkaClient:
        async with self._connecting:
            if self._client is None:
                client = AIOKafkaClient(**self._arguments)
                try:
                    await client.bootstrap()
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]
    """A UUID of sixteen bytes, which aiokafka's versions of the protocol do not have."""

    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))

    @classmethod
    def repr(cls, value: UUID) -> str:
        return str(value)


class _TopicsResponse(Response):  # type: ignore[misc]
    """Metadata, version 12: https://apache.org/protocol#The_Messages_Metadata."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _TopicsRequestStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _TopicsResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicsRequest(Request[_TopicsRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_TopicsRequestStruct]) -> _TopicsRequestStruct:
        return request_struct_class([(UUID(int=0), name, {}) for name in self._names], False, False, {})
