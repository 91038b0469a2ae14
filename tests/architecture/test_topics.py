"""The topics that services read are those of the table of topics."""

import importlib
from dataclasses import replace
from typing import Any, get_args

import pytest

from shared.events.topics import AUDIT, TOPICS, ServiceName, every_topic
from shared.runtime.service.command_line import Runtime, ServiceDefinition
from tests.support.drivers.processes import COMMAND_KEYS

SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)
UNREAD = {"reporting.events": "its rule of alerts does not exist yet"}
"""Topics that are written ahead of their first reader, each with the reason."""


def _definition(service: ServiceName, monkeypatch: pytest.MonkeyPatch) -> ServiceDefinition[Any]:
    """The definition that the service's command line runs."""
    main = importlib.import_module(f"services.{service}.main")
    given: list[ServiceDefinition[Any]] = []

    def run(definition: ServiceDefinition[Any], argv: object = None) -> int:
        assert argv == ["serve"]
        given.append(definition)
        return 0

    monkeypatch.setattr(main, "run", run)
    assert main.main(["serve"]) == 0
    (definition,) = given
    assert definition.name == service
    return definition


async def _topics_read(definition: ServiceDefinition[Any]) -> set[str]:
    """Build the service without servers; return the topics of its consumers."""
    settings = definition.settings_type(
        database_url="postgresql://nobody@127.0.0.1:1/nothing", command_keys=COMMAND_KEYS
    )
    runtime = Runtime(definition, settings)
    built = definition.build(runtime)
    if built is not None:
        await built
    return {consumer.topic.name for consumer in runtime.consumers}


def _topics_promised(service: ServiceName) -> set[str]:
    return {topic.name for topic in TOPICS if service in topic.readers}


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_reads_the_topics_of_the_table(service: ServiceName, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _topics_read(_definition(service, monkeypatch)) == _topics_promised(service)


async def test_a_planted_or_missing_reader_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    alerts = _definition("alerts", monkeypatch)

    def with_one_less(runtime: Runtime[Any]) -> None:
        alerts.build(runtime)
        runtime.consumers.pop()

    def with_one_more(runtime: Runtime[Any]) -> None:
        alerts.build(runtime)
        runtime.consume(AUDIT, {})

    for planted in (with_one_less, with_one_more):
        assert await _topics_read(replace(alerts, build=planted)) != _topics_promised("alerts")


def test_every_topic_has_a_writer_a_reader_and_a_payload() -> None:
    for topic in TOPICS:
        assert topic.writers, topic.name
        assert bool(topic.readers) != (topic.name in UNREAD), topic.name
        assert topic.carries, topic.name


def test_every_reader_has_a_dead_letter_topic_and_names_are_unique() -> None:
    names = [topic.name for topic in every_topic()]
    assert len(names) == len(set(names))
    for topic in TOPICS:
        for reader in topic.readers:
            assert f"{topic.name}.{reader}.dlq" in names


def test_an_event_type_is_on_one_topic_only() -> None:
    carried = [payload.event_type for topic in TOPICS for payload in topic.carries]
    assert len(carried) == len(set(carried))
