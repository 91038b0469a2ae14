"""Arguments of the Kafka clients: sign-in, encryption, compression."""

import ssl
from typing import Any

import pytest
from aiokafka.record import MemoryRecords

from shared.runtime.kafka import producer as producer_module
from shared.runtime.kafka.batch_source import new_broker
from shared.runtime.kafka.client import client_arguments
from shared.runtime.kafka.producer import Producer
from shared.runtime.process.settings import ServiceSettings


def settings(**more: Any) -> ServiceSettings:
    return ServiceSettings(database_url="postgresql://x/y", **more)


def test_the_connection_is_plain_by_default() -> None:
    arguments = client_arguments(settings(kafka_bootstrap_servers="a:1,b:2"), "alerts")
    assert arguments["bootstrap_servers"] == ["a:1", "b:2"]
    assert arguments["security_protocol"] == "PLAINTEXT"
    assert "sasl_plain_password" not in arguments


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_producers_and_consumers_sign_in_the_same_way(protocol: str, mechanism: str) -> None:
    given = settings(
        kafka_protocol=protocol, kafka_sasl_mechanism=mechanism, kafka_username="alerts", kafka_password="secret"
    )
    wanted = {
        "security_protocol": protocol,
        "sasl_mechanism": mechanism,
        "sasl_plain_username": "alerts",
        "sasl_plain_password": "secret",
    }
    for arguments in (client_arguments(given, "alerts"), new_broker(given, "alerts")._connection_kwargs):
        assert {name: arguments.get(name) for name in wanted} == wanted
        assert isinstance(arguments.get("ssl_context"), ssl.SSLContext) == (protocol == "SASL_SSL")


CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.mark.parametrize(("codec", "number"), CODECS.items())
async def test_batches_and_single_records_are_compressed_as_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, codec: str, number: int
) -> None:
    given: list[Any] = []

    class Client:
        def __init__(self, *, compression_type: str | None, **_: Any) -> None:
            given.append(compression_type)

        async def start(self) -> None: ...

    monkeypatch.setattr(producer_module, "AIOKafkaProducer", Client)
    producer = Producer(settings(kafka_compression=codec), "alerts")
    await producer.start()
    assert given == [None if codec == "none" else codec]
    value = b'{"compressed":"well"}' * 50
    batch = producer.new_batch()
    batch.append(timestamp=None, key=b"k", value=value)
    batch.close()
    batch._set_producer_state(1, 1, 0)
    built = bytes(batch._build())
    assert MemoryRecords(built).next_batch().compression_type == number
    assert (len(built) < len(value)) == (codec != "none")
