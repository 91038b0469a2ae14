"""Limits of one HTTP/1.1 connection that uvicorn's parser (``httptools``) lacks.

They are the size of the request line and the header fields, the number of fields, and the time for head and body. The
refusals of this layer are problem documents like all others; the connection is closed after them.
"""

import re
from asyncio import BaseTransport, TimerHandle
from collections.abc import Iterable
from typing import Literal

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from shared.runtime.http.middleware import SECURITY_HEADERS, problem

MAX_TARGET_BYTES = 16 * 1024
"""Longest target of a request line; beyond it 414."""
MAX_HEAD_BYTES = 64 * 1024
"""Largest size of all header fields; beyond it 431.

It is also the largest size of a field that is still incomplete.
"""
MAX_FIELDS = 100
"""Most header fields; beyond it 431."""
HEAD_SECONDS = 10.0
"""Longest time until the header fields have arrived; then 408.

It runs from the connection, or from a request's first byte, to the end of the header fields.
"""
BODY_SECONDS = 60.0
"""Longest time from there to the end of the body; then 408."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")
"""A name or an address, perhaps with a port (RFC 3986, 3.2.2)."""

_REFUSALS: dict[int, tuple[str, str]] = {
    400: ("malformed", "This is not a valid HTTP/1.1 request with one Host field."),
    408: ("request_timeout", "The request took too long to arrive."),
    414: ("too_large", f"The target of a request may have {MAX_TARGET_BYTES} bytes at most."),
    431: ("too_large", f"Header fields may be {MAX_FIELDS} and {MAX_HEAD_BYTES} bytes at most."),
}


class BoundsError(Exception):
    """Stops the parser: a limit is exceeded, or the request is not valid."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection with these limits."""

    _arriving: Literal["head", "body"] | None = "head"
    """The part of the present request that is still to arrive."""
    _timed: Literal["head", "body"] | None = None
    """The part that the timer runs for."""
    _timer: TimerHandle | None = None
    _refusal = 400
    _hosts: list[bytes]
    """The ``Host`` fields of the present request."""
    _head_bytes = 0
    _fields = 0
    _open_bytes = 0
    """Bytes since the parser's last callback: of an incomplete field."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Start the timer of the first request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        self._arriving = None
        self._watch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes, then refuse a field that is too long without an end."""
        if self._arriving is None and not self._is_answering():
            self._arriving = "head"
        self._open_bytes += len(data)
        super().data_received(data)
        if self._open_bytes > MAX_HEAD_BYTES:
            self._refuse(431)
        if self._arriving is not self._timed:
            self._watch()

    # ---- callbacks of the parser -----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._arriving, self._head_bytes, self._fields, self._open_bytes = "head", 0, 0, 0
        self._hosts = []
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Check the target's length, part by part."""
        self._open_bytes = 0
        if len(self.url) + len(url) > MAX_TARGET_BYTES:
            self._stop(414)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Check a complete field, of the head or of a chunked body's trailers."""
        self._open_bytes = 0
        self._fields += 1
        self._head_bytes += len(name) + len(value)
        if self._fields > MAX_FIELDS or self._head_bytes > MAX_HEAD_BYTES:
            self._stop(431)
        if self._arriving == "body":
            return  # a trailer is no header field: those were acted on already
        if name.lower() == b"host":
            self._hosts.append(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start answering, if the request has a valid ``Host`` field (RFC 9112, 3.2)."""
        is_host_valid = len(self._hosts) == 1 and _HOST.fullmatch(self._hosts[0])
        if not is_host_valid and (self._hosts or self.parser.get_http_version() != "1.0"):
            self._stop(400)
        self._arriving, self._open_bytes = "body", 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on; the middleware limits its size."""
        self._open_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._arriving, self._open_bytes = None, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer; the request that waited for it has its whole time from now on."""
        has_waited = bool(self.pipeline) or self._timed == "head"
        super().on_response_complete()
        if has_waited and not self.transport.is_closing():
            self._watch()

    # ---- refusals --------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's own words
        """Refuse the request: the parser found an error or a limit was exceeded."""
        self._refuse(self._refusal)

    def _stop(self, status: int) -> None:
        self._refusal = status
        raise BoundsError

    def _is_answering(self) -> bool:
        """Whether an answer is still to be written, or to be finished."""
        return self.cycle is not None and not self.cycle.response_complete

    def _may_answer(self) -> bool:
        """Return whether the request that is arriving now may be answered.

        It may if it has no answer yet, and no earlier one is being answered.
        """
        if self._arriving == "body":
            return not self.pipeline and not self.cycle.response_started
        return not self._is_answering()

    def _refuse(self, status: int) -> None:
        """Answer, unless that would land in the middle of another answer; and close."""
        may_answer = self._may_answer()
        self._arriving = None
        self._watch()
        if self.transport.is_closing():
            return
        if may_answer:
            self.transport.write(_answer(status, getattr(self.app, "headers", SECURITY_HEADERS)))
        if self.cycle is not None:  # the app sees a disconnected client
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _watch(self) -> None:
        """Restart the timer for the part that is arriving now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timed = self._arriving
        if self._timed is not None:
            seconds = HEAD_SECONDS if self._timed == "head" else BODY_SECONDS
            self._timer = self.loop.call_later(seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        """Refuse the request with 408; close a connection on which none has begun."""
        if self.pipeline or (self._timed == "head" and self._is_answering()):
            return  # the timer restarts when the request before it is answered
        if self.headers is None:  # a connection without any request
            self.transport.close()
        else:
            self._refuse(408)


def _answer(status: int, extra: Iterable[tuple[bytes, bytes]]) -> bytes:
    code, detail = _REFUSALS[status]
    response = problem(status, code, detail, headers={"Connection": "close"})
    fields = b"".join(name + b": " + value + b"\r\n" for name, value in (*response.raw_headers, *extra))
    return STATUS_LINE[status] + fields + b"\r\n" + bytes(response.body)
