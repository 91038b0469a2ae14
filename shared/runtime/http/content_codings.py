"""Content codings of request bodies (RFC 9110, 8.4).

Gzip is decompressed up to a limit, others are refused.
"""

import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

ACCEPTED = "gzip, identity"
_GZIP = frozenset({"gzip", "x-gzip"})
_GZIP_WINDOW = 16 + zlib.MAX_WBITS

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class UnknownCodingError(HTTPException):
    """The body has a content coding that is not supported."""

    def __init__(self) -> None:
        message = f"The Content-Encoding is not supported. Supported are {ACCEPTED}, one at a time."
        super().__init__(415, message, {"Accept-Encoding": ACCEPTED})


class BrokenCodingError(HTTPException):
    """The body is not valid in its content coding."""

    def __init__(self) -> None:
        super().__init__(400, "The body is not complete gzip data, although its Content-Encoding is gzip.")


def is_packed(values: Iterable[bytes]) -> bool:
    """Whether a body with these ``Content-Encoding`` fields must be decompressed.

    Raises:
        UnknownCodingError: the coding is not supported.
    """
    codings = [part.strip().lower() for value in values for part in value.decode("latin-1").split(",")]
    real = [coding for coding in codings if coding not in {"", "identity"}]
    if not real:
        return False
    if len(real) > 1 or real[0] not in _GZIP:
        raise UnknownCodingError
    return True


def unpacked(receive: Receive, limit: int, too_large: Callable[[int], Exception]) -> Receive:
    """Wrap ``receive`` so that a gzip body is decompressed.

    It may have at most ``limit`` bytes then; ``too_large`` makes the error for a larger one.
    A body may be several gzip members (RFC 1952, 2.2); an empty one is empty.
    """
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    begun = False
    left = limit

    def unpack(data: bytes) -> bytes:
        nonlocal unpacker, begun, left
        parts: list[bytes] = []
        while data:
            if unpacker.eof:
                unpacker = zlib.decompressobj(_GZIP_WINDOW)
            begun = True
            try:
                part = unpacker.decompress(data, left + 1)
            except zlib.error:
                raise BrokenCodingError from None
            left -= len(part)
            if left < 0:
                raise too_large(limit)
            parts.append(part)
            data = unpacker.unconsumed_tail or unpacker.unused_data
        return b"".join(parts)

    async def received() -> Message:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body = unpack(message.get("body", b""))
        if not message.get("more_body", False) and begun and not unpacker.eof:
            raise BrokenCodingError
        return {**message, "body": body}

    return received
