"""Decoding of usage: every bad input has its reason; both decoders agree."""

import json
from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.metering.domain import decode as module
from services.metering.domain.corrections import CorrectionEvent
from services.metering.domain.decode import UsageEvent, decode
from services.metering.domain.reasons import Claim, RejectedError
from shared.events.envelope import Instant

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/platforms/exposure-scan",
    "type": "unitpool.platform.usage.recorded.v1",
    "subject": "sub-1",
    "time": "2026-11-24T10:15:00Z",
    "datacontenttype": "application/json",
    "data": {"product": "exposure-scan", "meter": "host", "quantity": 1, "resource": "host-0042"},
}


def text(**changes: Any) -> bytes:
    document = {**EVENT, **changes}
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()


def with_data(**changes: Any) -> bytes:
    data = {**EVENT["data"], **changes}
    return text(data={key: value for key, value in data.items() if value is not ...})


@pytest.mark.parametrize(
    "raw",
    [
        text(),
        text(datacontenttype=...),
        text(datacontenttype="application/vnd.acme.usage+json"),
        text(datacontenttype="Application/JSON"),
        text(datacontenttype=" text/json ; charset=utf-8"),
        text(datacontenttype='application/json; charset="UTF-8"; v="1;2"'),
        with_data(quantity=...),
        with_data(quantity="0.000000000001"),
        with_data(quantity=10**18 - 1),
        with_data(resource=...),
        with_data(resource=None),
        with_data(resource='quo"te'),
        with_data(resource="ünïcödé \U0001f600"),
        text(time="2026-11-24T12:15:00.123456+02:00"),
    ],
)
def test_an_event_is_decoded_when_it_is_valid(raw: bytes) -> None:
    event = decode(raw)
    assert isinstance(event, UsageEvent)
    assert event.id == "e-1"
    assert event.extra is None
    assert event == module._decode_slowly(raw)


@pytest.mark.parametrize("extra", [{}, {"traceparent": "00-abc"}])
@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-11-15T23:59:59.9999999Z", "2026-11-15T23:59:59.999999+00:00"),
        ("2026-11-15T23:59:59.99999949Z", "2026-11-15T23:59:59.999999+00:00"),
        ("2026-11-15T23:59:59.999999999999999999999Z", "2026-11-15T23:59:59.999999+00:00"),
        ("2026-11-15T23:59:59.9999999+01:00", "2026-11-15T22:59:59.999999+00:00"),
        ("2026-11-15T23:59:59.0000009Z", "2026-11-15T23:59:59+00:00"),
        ("2026-11-15T23:59:59.1234567Z", "2026-11-15T23:59:59.123456+00:00"),
        ("2026-11-15T23:59:59.123456Z", "2026-11-15T23:59:59.123456+00:00"),
        ("2026-11-15T23:59:59.5Z", "2026-11-15T23:59:59.500000+00:00"),
        ("2026-11-15T23:59:59Z", "2026-11-15T23:59:59+00:00"),
    ],
)
def test_a_time_is_never_moved_forward_and_read_as_by_every_api(written: str, read: str, extra: dict[str, str]) -> None:
    raw, escaped = text(time=written, **extra), text(time=written, **extra).replace(b'"time"', b'"t\\u0069me"')
    compact = json.dumps(json.loads(raw), separators=(",", ":")).encode()
    reversal = {"product": "p", "source": "/s", "id": "e-0", "reason": "r"}
    correction = text(time=written, type="unitpool.platform.usage.reversed.v1", data=reversal)
    # Its last digit but one, and its dot, as escapes: "9" is \u0039.
    digit, dot = written[-2].encode(), written.encode()
    hidden = [
        raw.replace(dot, dot[:-2] + b"\\u003" + digit + dot[-1:]) if digit.isdigit() else raw,
        raw.replace(dot, dot.replace(b".", b"\\u002e")),
    ]
    spaced = raw.replace(b'"time": ', b'"time" \n :\t ')
    for one in (raw, escaped, compact, correction, spaced, *hidden):
        assert decode(one).time.astimezone(UTC).isoformat() == read
    assert TypeAdapter(Instant).validate_python(written).isoformat() == read


@pytest.mark.parametrize(
    "raw",
    [
        text(id=7, subject="sub-1"),
        with_data(quantity=-1),
        text(type="other"),
        text(time="yesterday"),
        text().replace(b'"quantity": 1', b'"quantity": NaN'),
        text().replace(b'"quantity": 1', b'"quantity": 1, "quantity": 2'),
        text().replace(b"host-0042", b"host-\xff"),
        text(resource="\ud800", specversion="0.3"),
    ],
)
def test_a_claim_has_the_readable_fields_when_a_record_is_bad(raw: bytes) -> None:
    with pytest.raises(RejectedError) as error:
        decode(raw)
    claim = error.value.claim
    assert (claim.source, claim.product, claim.subscription) == (EVENT["source"], "exposure-scan", "sub-1")
    assert claim.event_id == (None if b'"id": 7' in raw else "e-1")


def test_a_claim_omits_a_field_when_it_is_ambiguous_or_cannot_be_stored() -> None:
    for raw in (
        text().replace(b'"id": "e-1"', b'"id": "e-1", "id": "e-2"'),
        text().replace(b"e-1", b"e-\xff"),
        text().replace(b"e-1", b"e-\\u0000"),
    ):
        claim = module.claim_of(raw)
        assert (claim.event_id, claim.subscription) == (None, "sub-1")
    for nothing in (b"", None, b"[]", b"7", b"\xff", b"[" * 100_000):
        assert module.claim_of(nothing) == Claim()


def test_the_time_is_read_when_other_fields_have_digits() -> None:
    for raw in (with_data(resource="a.12345678"), text(id=".0000001", time="2026-11-15T23:59:59Z")):
        assert decode(raw) == module._decode_slowly(raw)
    named_time = text(id="time", time="2026-11-15T23:59:59.9999999Z")
    assert decode(named_time).time.day == 15


@pytest.mark.parametrize("time", ["2026-11-15T23:59:59Z", "2026-11-15T23:59:59.9Z", "2026-11-15T23:59:59.9999999Z"])
@pytest.mark.parametrize("after", [{}, {"id": "9" * 20}, {"id": "e-1"}])
def test_the_time_is_read_when_it_is_followed_by_nothing_or_by_digits(time: str, after: dict[str, str]) -> None:
    before = {key: value for key, value in EVENT.items() if key not in {"time", *after}}
    raw = json.dumps({**before, "time": time, **after}, separators=(",", ":")).encode()
    assert decode(raw) == module._decode_slowly(raw)


def test_a_reversal_that_names_itself_is_rejected() -> None:
    data = {"product": "p", "source": EVENT["source"], "id": EVENT["id"], "reason": "r"}
    with pytest.raises(RejectedError, match="id of its own") as error:
        decode(text(type="unitpool.platform.usage.reversed.v1", data=data))
    assert (error.value.reason, error.value.claim.event_id) == ("malformed", "e-1")


def test_additional_attributes_are_retained() -> None:
    event = decode(text(traceparent="00-abc", extra="mine", data={**EVENT["data"], "note": [1]}))
    assert isinstance(event, UsageEvent)
    assert json.loads(str(event.extra)) == {"traceparent": "00-abc", "extra": "mine", "data": {"note": [1]}}


REASONS = [
    (None, "malformed"),
    (b"", "malformed"),
    (b"not json", "malformed"),
    (b"[]", "malformed"),
    (b"\xff\xfe", "malformed"),
    (b"[" * 100_000, "malformed"),
    (b'{"a":' * 50_000, "malformed"),
    (text() + b"{}", "malformed"),
    (text(specversion="0.3"), "malformed"),
    (text(specversion=...), "malformed"),
    (text(type=...), "malformed"),
    (text(type="unitpool.platform.usage.reversed.v2"), "unsupported_type"),
    (text(type="unitpool.platform.usage.reversed.v1", data={"id": "x"}), "malformed"),
    (text(id=...), "malformed"),
    (text(id=""), "malformed"),
    (text(id=7), "malformed"),
    (text(id="x" * 10_000), "malformed"),
    (text(id="nul\0"), "malformed"),
    (text(subject=...), "malformed"),
    (text(subject=None), "malformed"),
    (text(source="s" * 201), "malformed"),
    (text(time=...), "malformed"),
    (text(time="2026-11-24T10:15:00"), "malformed"),
    (text(time="2026-12-31T23:59:60Z"), "malformed"),
    (text(time=1700000000), "malformed"),
    (text(time="yesterday"), "malformed"),
    (text(datacontenttype="text/xml"), "malformed"),
    (text(datacontenttype="application/jsonx"), "malformed"),
    (text(datacontenttype="application/json; charset"), "malformed"),
    (text(datacontenttype="application/json, text/json"), "malformed"),
    (text(datacontenttype="application/json; charset=utf-16"), "malformed"),
    (text(datacontenttype="application/+json"), "malformed"),
    (text(datacontenttype=""), "malformed"),
    (text(datacontenttype=7), "malformed"),
    (text(data=...), "malformed"),
    (text(data=[]), "malformed"),
    (text(data="{}"), "malformed"),
    (with_data(product=...), "malformed"),
    (with_data(meter=""), "malformed"),
    (with_data(resource="nul\0"), "malformed"),
    (with_data(resource="r" * 513), "malformed"),
    (with_data(resource=7), "malformed"),
    (with_data(resource="\ud800"), "malformed"),
    (with_data(quantity=-1), "invalid_quantity"),
    (with_data(quantity=1.0), "invalid_quantity"),
    (with_data(quantity=0.1), "invalid_quantity"),
    (with_data(quantity=None), "invalid_quantity"),
    (with_data(quantity=True), "invalid_quantity"),
    (with_data(quantity="1e400"), "invalid_quantity"),
    (with_data(quantity="-1"), "invalid_quantity"),
    (with_data(quantity="NaN"), "invalid_quantity"),
    (with_data(quantity="\u0661"), "invalid_quantity"),
    (with_data(quantity="0." + "1" * 13), "invalid_quantity"),
    (with_data(quantity=10**18), "invalid_quantity"),
    (with_data(quantity={}), "invalid_quantity"),
    (text().replace(b'"quantity": 1', b'"quantity": 1e400'), "invalid_quantity"),
    (text().replace(b'"quantity": 1', b'"quantity": NaN'), "malformed"),
    (text().replace(b'"quantity": 1', b'"quantity": 1, "quantity": 2'), "malformed"),
    (text().replace(b'"quantity": 1', b'"quantity" : 1, "quantity" : 2'), "malformed"),
    (text().replace(b'{"specversion"', b'{"id": "other", "specversion"'), "malformed"),
]


@pytest.mark.parametrize(("raw", "reason"), REASONS)
def test_bad_input_is_rejected_with_its_reason(raw: bytes | None, reason: str) -> None:
    with pytest.raises(RejectedError) as error:
        decode(raw)
    assert error.value.reason == reason


def test_a_rejection_has_the_readable_fields() -> None:
    with pytest.raises(RejectedError) as error:
        decode(with_data(quantity=-1))
    assert error.value.claim.source == "/platforms/exposure-scan"
    assert error.value.claim.product == "exposure-scan"
    assert error.value.claim.subscription == "sub-1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
KEYS = st.sampled_from([*EVENT, "extra", "more"])


@given(
    st.dictionaries(KEYS, JSON, max_size=3), st.dictionaries(st.sampled_from([*EVENT["data"], "x"]), JSON, max_size=2)
)
def test_fast_and_slow_decoders_agree_on_any_input(changes: dict[str, Any], data: dict[str, Any]) -> None:
    document = {**EVENT, "data": {**EVENT["data"], **data}, **changes}
    raw = json.dumps(document).encode()
    assert _read(decode, raw) == _read(module._decode_slowly, raw)


def _read(how: Callable[[bytes], UsageEvent | CorrectionEvent], raw: bytes) -> UsageEvent | CorrectionEvent | str:
    try:
        return how(raw)
    except RejectedError as error:
        return error.reason


@given(st.binary(max_size=200))
def test_bytes_that_are_no_event_are_rejected(raw: bytes) -> None:
    with pytest.raises(RejectedError):
        decode(raw)
