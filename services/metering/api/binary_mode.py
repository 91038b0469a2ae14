"""The binary mode of CloudEvents over HTTP: attributes are header fields.

It is described in the protocol binding 1.0.2, 3.1.3.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#313-metadata-headers
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

PREFIX = "ce-"
_NO_ATTRIBUTES = frozenset({"", "data", "data_base64", "datacontenttype"})
"""Taken from the body and its content type."""
_PRINTABLE = re.compile(r"[ -~]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class HeaderError(ValueError):
    """A header field is not a valid attribute.

    The message names it and says what to send instead.
    """


def read_attributes(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Read CloudEvents attributes from header fields.

    ``headers`` are (lower-case name, value as Latin-1) pairs.

    Raises:
        HeaderError: a field is no attribute or occurs twice, or its value cannot be decoded, so that the event's
            identity is not certain.
    """
    found: dict[str, str] = {}
    for field, value in headers:
        if field.startswith(PREFIX):
            name = field.removeprefix(PREFIX)
            if name in _NO_ATTRIBUTES:
                raise HeaderError(f"{field} is no attribute: the body is the data, Content-Type its type")
            if name in found:
                raise HeaderError(f"{field} occurs twice")
            found[name] = _decode(field, value)
    return found


def _decode(field: str, value: str) -> str:
    """Decode a header value in one round.

    Quoted strings are unescaped (RFC 9110, 5.6.4), then percent-encoding (RFC 3986, 2.1) is decoded to UTF-8.
    """
    if not _PRINTABLE.fullmatch(value):
        raise HeaderError(f"{field} has bytes other than printable ASCII; write them as %XX of their UTF-8")
    if '"' in _QUOTED.sub("", value):
        raise HeaderError(f'{field} has a " that begins no quoted string; write it as %22')
    plain = _QUOTED.sub(lambda quoted: _ESCAPED.sub(r"\1", quoted.group(1)), value)
    if _BAD_PERCENT.search(plain):
        raise HeaderError(f"{field} has a % without two hexadecimal digits; write it as %25")
    try:
        return unquote_to_bytes(plain).decode()
    except UnicodeDecodeError:
        raise HeaderError(f"{field} is not UTF-8 once its %XX are decoded") from None
