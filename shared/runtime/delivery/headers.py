"""Kafka headers as the JSON text of a table's column.

It is a list of pairs of name and encoded value.
"""

import base64
import json
from typing import Literal

from shared.runtime.records import Headers

Encoding = Literal["base64", "hex"]
"""The encoding of the headers' values.

``hex`` is for metering's tables only: their rows were written so from the beginning, and do not say how.
"""


def headers_to_json(headers: Headers, encoding: Encoding = "base64") -> str:
    """Encode headers for a column.

    A header without a value is written as one whose value is empty.
    """
    if not headers:
        return "[]"
    if encoding == "hex":
        return json.dumps([[name, (value or b"").hex()] for name, value in headers])
    return json.dumps([[name, base64.b64encode(value or b"").decode()] for name, value in headers])


def headers_from_json(text: str, encoding: Encoding = "base64") -> tuple[tuple[str, bytes], ...]:
    """Decode what ``headers_to_json`` wrote with the same encoding."""
    decode = bytes.fromhex if encoding == "hex" else base64.b64decode
    return tuple((name, decode(value)) for name, value in json.loads(text))
