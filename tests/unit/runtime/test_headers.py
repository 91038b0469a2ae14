"""Headers in tables: both encodings read what they wrote."""

import pytest

from shared.runtime.delivery.headers import Encoding, headers_from_json, headers_to_json

HEADERS = (("traceparent", b"00-ab"), ("raw", bytes(range(256))), ("raw", b""))


@pytest.mark.parametrize("encoding", ["base64", "hex"])
def test_headers_are_equal_when_read_back(encoding: Encoding) -> None:
    assert headers_from_json(headers_to_json(HEADERS, encoding), encoding) == HEADERS


@pytest.mark.parametrize("encoding", ["base64", "hex"])
def test_headers_are_empty_when_there_are_none(encoding: Encoding) -> None:
    assert headers_from_json(headers_to_json((), encoding), encoding) == ()


def test_a_header_is_empty_when_it_had_no_value() -> None:
    assert headers_from_json(headers_to_json((("name", None),))) == (("name", b""),)
