"""The HTTP ingest route: forms of CloudEvents, refusals, and its bounded wait."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest
from aiokafka.errors import KafkaConnectionError
from hypothesis import given
from hypothesis import strategies as st

from services.metering.api.request_body import MAX_EVENTS, BodyError, split
from services.metering.api.usage import (
    MAX_EVENT_BYTES,
    Headers,
    OverloadError,
    Publisher,
    UnacknowledgedError,
    sort_events,
)
from services.metering.domain.catalogue import Catalogue
from tests.support.builders.metering import event, purge, reversal

BATCH = "application/cloudevents-batch+json"


def texts(*events: dict[str, Any]) -> list[bytes]:
    return [json.dumps(item).encode() for item in events]


def typed(content_type: str) -> list[tuple[str, str]]:
    return [("content-type", content_type)]


def binary(**attributes: str) -> list[tuple[str, str]]:
    """Build the header fields of binary mode, as on the wire."""
    return [*typed("application/json"), *((f"ce-{name}", value) for name, value in attributes.items())]


def read_id(written: str) -> str:
    """Read the id of a header field."""
    (text,), _ = split(binary(specversion="1.0", id=written), b"{}")
    return str(json.loads(text)["id"])


def test_the_bytes_of_events_are_unchanged_when_a_batch_is_split() -> None:
    body = b' [ {"a" : 1.0, "b":"\\u00e9"} , {"c":[{}]}, 7 ] '
    assert split(typed(f"{BATCH}; charset=utf-8"), body) == ([b'{"a" : 1.0, "b":"\\u00e9"}', b'{"c":[{}]}', b"7"], True)


def test_a_binary_event_becomes_a_structured_one() -> None:
    item = event("e 1", resource="r")
    attributes = {name: str(value).replace(" ", "%20") for name, value in item.items() if name != "data"}
    (text,), is_batch = split(binary(**attributes), json.dumps(item["data"]).encode())
    assert not is_batch
    assert json.loads(text) == {**item, "datacontenttype": "application/json"}


def test_a_binary_event_has_its_own_media_type() -> None:
    headers = [("ce-specversion", "1.0"), ("ce-id", "1")]
    (text,), _ = split([*typed("Application/vnd.acme+JSON; v=1"), *headers], b"{}")
    assert json.loads(text)["datacontenttype"] == "Application/vnd.acme+JSON; v=1"
    for other in ("application/xml", "application/cloudevents-avro+json", "application"):
        with pytest.raises(BodyError) as error:
            split([*typed(other), *headers], b"{}")
        assert error.value.status == 415


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro \u20ac \U0001f600"),  # the specification's own example
        ("a b", "a b"),
        ('"a b"', "a b"),
        ('"a\\"b"', 'a"b'),
        ('"a\\\\b"', "a\\b"),
        ('x" y"z', "x yz"),
        ("a\\b", "a\\b"),
        ("a%22b", 'a"b'),
        ("%2522", "%22"),
        ("a%2Fb", "a/b"),
        ("a+b", "a+b"),
        ("%c3%A9", "\u00e9"),
        ("a%00", "a\0"),
    ],
)
def test_a_header_value_is_decoded_once(written: str, read: str) -> None:
    assert read_id(written) == read


@pytest.mark.parametrize(
    "written",
    [
        "a%FF",
        "a%FE",
        "%C0%A0",
        "%ED%A0%80",
        "a%",
        "a%F",
        "a%zz",
        "100%",
        "\u00e9",
        "\u00c3\u00a9",
        "a\tb",
        '"a',
        'a"b',
        '"a\\"',
        "a\x7f",
    ],
)
def test_a_header_value_is_refused_when_its_text_is_ambiguous(written: str) -> None:
    with pytest.raises(BodyError) as error:
        read_id(written)
    assert (error.value.status, error.value.code) == (422, "malformed")
    assert "ce-id" in str(error.value)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXT, TEXT)
def test_two_ids_stay_distinct_when_decoded(one: str, other: str) -> None:
    written = [quote(each, safe="!#$&'()*+,/:;=?@[]") for each in (one, other)]
    assert [read_id(each) for each in written] == [one, other]


@pytest.mark.parametrize(
    "more",
    [
        [("ce-id", "2")],
        [("ce-id", "1")],
        [("ce-specversion", "1.0")],
        [("ce-data", "x")],
        [("ce-data_base64", "eA==")],
        [("ce-datacontenttype", "text/plain")],
        [("ce-", "x")],
    ],
)
def test_header_fields_that_contradict_are_refused(more: list[tuple[str, str]]) -> None:
    with pytest.raises(BodyError) as error:
        split([*binary(specversion="1.0", id="1"), *more], b"{}")
    assert error.value.status == 422


def test_a_request_is_refused_when_it_has_two_content_types() -> None:
    with pytest.raises(BodyError) as error:
        split([*typed(BATCH), *typed("application/cloudevents+json")], b"[]")
    assert error.value.status == 415


async def test_ingest_that_waits_when_the_producer_is_stopped_is_not_acknowledged() -> None:
    async def stopped(_: Sequence[tuple[bytes, bytes]], _headers: Headers) -> None:
        raise asyncio.CancelledError

    with pytest.raises(UnacknowledgedError):
        await Publisher(stopped, budget_bytes=100, within_seconds=5).publish([(b"x", b"k")])


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("", b"{}", 415),
        ("application/json", b"{}", 415),
        (BATCH, b"[1,", 400),
        (BATCH, b"{", 400),
        (BATCH, b'"x', 400),
        (BATCH, b"7", 422),
        ("application/cloudevents+json", b"NaN", 400),
        (f"{BATCH}; charset=utf-16", b"[]", 415),
        (f"{BATCH}, {BATCH}", b"[]", 415),
        (BATCH, b"\xff", 400),
        (BATCH, b"{}", 422),
        (BATCH, b"[" + b"1," * MAX_EVENTS + b"1]", 413),
        ("application/cloudevents+json", b"{} {}", 400),
    ],
)
def test_a_body_is_refused_when_it_is_invalid(content_type: str, body: bytes, status: int) -> None:
    with pytest.raises(BodyError) as error:
        split(typed(content_type), body)
    assert error.value.status == status


def test_a_repeat_within_a_request_is_sent_once_and_a_conflict_is_left_to_the_books() -> None:
    first, other = event("a", resource="r"), event("a", resource="other")
    result = sort_events(texts(first, first, other), "scan", Catalogue())
    assert (len(result.accepted), result.duplicates, result.refused) == (2, 1, [])


def test_an_event_larger_than_kafka_takes_is_refused() -> None:
    big = {**event("a", resource="r"), "note": "x" * MAX_EVENT_BYTES}
    assert [refused.code for refused in sort_events(texts(big), "scan", Catalogue()).refused] == ["malformed"]


class Broker:
    """A broker whose acknowledgements the test sends."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[Any]] = []

    async def send(self, _records: Sequence[tuple[bytes, bytes]], _headers: Headers) -> None:
        self.waiting.append(asyncio.get_running_loop().create_future())
        await self.waiting[-1]


async def test_unacknowledged_bytes_are_bounded_when_their_requests_have_timed_out() -> None:
    broker = Broker()
    publisher = Publisher(broker.send, budget_bytes=100, within_seconds=0.01)
    with pytest.raises(UnacknowledgedError):
        await publisher.publish([(b"x" * 90, b"s")])
    with pytest.raises(OverloadError):
        await publisher.publish([(b"x" * 11, b"s")])
    broker.waiting[0].set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    publishing = asyncio.create_task(publisher.publish([(b"x" * 100, b"s")]))
    while len(broker.waiting) < 2:  # noqa: ASYNC110  # the other task needs some turns
        await asyncio.sleep(0)
    broker.waiting[1].set_result(None)
    await publishing


async def test_publishing_fails_when_the_broker_refuses() -> None:
    broker = Broker()
    publisher = Publisher(broker.send, budget_bytes=100, within_seconds=5)
    publishing = asyncio.create_task(publisher.publish([(b"x", b"s"), (b"y", b"s")]))
    while not broker.waiting:  # noqa: ASYNC110  # the other task needs some turns
        await asyncio.sleep(0)
    broker.waiting[0].set_exception(KafkaConnectionError())
    with pytest.raises(UnacknowledgedError):
        await publishing


def test_corrections_are_judged_by_the_rules_of_usage() -> None:
    item = event("u", resource="a")
    result = sort_events(
        texts(
            reversal("r-1", item),
            reversal("r-1", item),
            purge("p-1", "a"),
            reversal("r-2", event("x", "web", "app")),
            {**purge("p-2", "a"), "source": "/platforms/web"},
            {**purge("p-3", "a"), "data": {"product": "scan", "meter": "host"}},
            reversal("r-3", item, reason=""),
            {**reversal("r-4", item), "type": "unitpool.platform.usage.reversed.v2"},
        ),
        "scan",
        Catalogue(),
    )
    assert (len(result.accepted), result.duplicates) == (2, 1)
    assert [(refused.index, refused.code) for refused in result.refused] == [
        (3, "source_not_allowed"),
        (4, "source_not_allowed"),
        (5, "malformed"),
        (6, "malformed"),
        (7, "unsupported_type"),
    ]


def test_a_refusal_says_what_to_do_when_an_event_is_invalid() -> None:
    item = event("u", resource="a")
    result = sort_events(
        texts(
            reversal("u", item),
            event("n", quantity=-1, resource="a"),
            event("m", quantity="-0.5", resource="a"),
            reversal("u", {**item, "source": "/platforms/scan/eu"}),
        ),
        "scan",
        Catalogue(),
    )
    assert [(refused.index, refused.code) for refused in result.refused] == [
        (0, "malformed"),
        (1, "invalid_quantity"),
        (2, "invalid_quantity"),
    ]
    assert len(result.accepted) == 1, "another source's event of that id is another event"
    assert "id of its own" in result.refused[0].message
    assert all("unitpool.platform.usage.reversed.v1" in refused.message for refused in result.refused[1:3])


def test_a_key_is_refused_when_only_the_start_of_the_product_name_matches() -> None:
    item = {**event("x1", "api", "call"), "source": "/platforms/api-guard"}
    result = sort_events(texts(item, {**item, "source": "/platforms/api/eu"}), "api", Catalogue())
    assert [refused.code for refused in result.refused] == ["source_not_allowed"]
    assert len(result.accepted) == 1
