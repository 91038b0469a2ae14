"""Create the topics of ``shared.events.topics``.

Topics that exist are left unchanged.
"""

from collections.abc import Iterable

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from deploy.local.errors import LocalStackError
from shared.events.topics import Topic, every_topic


async def create_topics(bootstrap_servers: str, prefix: str = "", topics: Iterable[Topic] | None = None) -> list[str]:
    """Create the missing topics; return their names.

    Each name has ``prefix`` before it.

    Raises:
        LocalStackError: Kafka did not create a topic.
    """
    wanted = list(every_topic() if topics is None else topics)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=60_000)
    await admin.start()
    try:
        response = await admin.create_topics(
            [
                NewTopic(
                    name=f"{prefix}{topic.name}",
                    num_partitions=topic.partitions,
                    replication_factor=1,
                    topic_configs=topic.config(),
                )
                for topic in wanted
            ],
            timeout_ms=60_000,
        )
    finally:
        await admin.close()
    created = []
    for name, code, *message in response.topic_errors:
        if code == 0:
            created.append(name)
        elif for_code(code) is not TopicAlreadyExistsError:
            raise LocalStackError(f"Kafka did not create the topic {name}: {message[0] if message else code}")
    return created
