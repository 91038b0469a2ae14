"""The three HTTP modes of CloudEvents: structured, batched and binary.

They are described in the HTTP protocol binding 1.0.
"""

import json
from collections.abc import Sequence

import msgspec

from services.metering.api.binary_mode import HeaderError, read_attributes
from shared import media_types

MAX_EVENTS = 5000
_SINGLE = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_JSON = "application/json"
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class BodyError(Exception):
    """The body as a whole is refused. ``status`` and ``code`` are those of the answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


Headers = Sequence[tuple[str, str]]
"""Header fields in their order: (lower-case name, value as Latin-1)."""


def split(headers: Headers, body: bytes) -> tuple[list[bytes], bool]:
    """Return the events of a request, each as structured JSON.

    The second value says whether they came as a batch.

    Raises:
        BodyError: unsupported content type, invalid JSON, too many events, or invalid attribute header fields.
    """
    content_types = [value for name, value in headers if name == "content-type"]
    content_type = content_types[0] if len(content_types) == 1 else ""
    media = media_types.parse(content_type)
    if media is not None and media.is_json:
        if media.name == _BATCH:
            return _batch(body), True
        if media.name == _SINGLE:
            return [_one(body)], False
        is_binary = any(name == "ce-specversion" for name, _ in headers)
        if is_binary and not media.name.startswith("application/cloudevents"):
            return [_binary(headers, _one(body), content_type.strip())], False
    raise BodyError(415, "unsupported_media_type", f"Send {_SINGLE}, {_BATCH}, or {_JSON} with ce- headers.")


def _batch(body: bytes) -> list[bytes]:
    try:
        events = [bytes(event) for event in _split(body)]
    except msgspec.ValidationError:
        _one(body)
        raise BodyError(422, "malformed", "A batch is a JSON array of events.") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise BodyError(400, "malformed", "The body is not JSON.") from None
    if len(events) > MAX_EVENTS:
        raise BodyError(413, "too_large", f"A batch may have {MAX_EVENTS} events at most.")
    return events


def _one(body: bytes) -> bytes:
    try:
        _parser.decode(body.decode())
    except (ValueError, RecursionError):
        raise BodyError(400, "malformed", "The body is not JSON.") from None
    return body


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_parser = json.JSONDecoder(parse_constant=_no_constant)


def _binary(headers: Headers, body: bytes, media: str) -> bytes:
    try:
        attributes = read_attributes(headers)
    except HeaderError as error:
        raise BodyError(422, "malformed", f"The header field {error}.") from None
    return msgspec.json.encode({**attributes, "datacontenttype": media, "data": msgspec.Raw(body)})
