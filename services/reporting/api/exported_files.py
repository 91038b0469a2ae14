"""Answers with the file of an export (RFC 9110).

They are the whole file, one range of it, or that it is unchanged.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from services.reporting.domain.caller import Caller
from services.reporting.domain.exports import MEDIA_TYPES, ExportFile
from services.reporting.exports.audit import Origin
from services.reporting.exports.downloads import Downloads, Link
from shared.runtime.http.middleware import problem

_BINARY: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
FILE_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The file", "content": dict.fromkeys(MEDIA_TYPES.values(), _BINARY)},
    206: {"description": "One range of the file", "content": dict.fromkeys(MEDIA_TYPES.values(), _BINARY)},
    304: {"description": "The file is the one that `If-None-Match` names"},
    416: {"description": "`range_not_satisfiable`", "content": {"application/problem+json": {}}},
}
_RANGE: Final = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')


@dataclass(frozen=True, slots=True)
class _Range:
    """What is sent; ``is_part``: as a range, even if it is the whole file."""

    start: int
    length: int
    is_part: bool


@dataclass(frozen=True, slots=True)
class FileRequest:
    """A request for the file of an export.

    ``caller`` sent a token, or ``link`` is given, or both.
    """

    request: Request
    export: str
    caller: Caller | None
    link: Link | None
    origin: Origin


async def answer_file(downloads: Downloads, asked: FileRequest) -> Response:
    """Answer a request for the file of an export.

    Raises:
        ProblemError: they may not have it, or there is none.
    """
    download = await downloads.find(asked.export, asked.caller, asked.link, asked.origin)
    file = download.file
    headers = {
        "ETag": f'"{file.sha256}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{download.export.file_name}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    if _names(asked.request.headers.get("if-none-match"), file.sha256):
        return Response(status_code=304, headers=headers)
    wanted = _range(asked.request, file)
    if wanted is None:
        message = f"The file has {file.bytes} bytes."
        return problem(416, "range_not_satisfiable", message, headers={"Content-Range": f"bytes */{file.bytes}"})
    headers["Content-Length"] = str(wanted.length)
    if wanted.is_part:
        headers["Content-Range"] = f"bytes {wanted.start}-{wanted.start + wanted.length - 1}/{file.bytes}"
    pieces = _nothing()
    if not asked.request.scope.get("is_head"):
        pieces = await downloads.open(download, asked.origin, wanted.start, wanted.length)
    return StreamingResponse(pieces, 206 if wanted.is_part else 200, headers, MEDIA_TYPES[download.export.format])


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _names(given: str | None, sha256: str) -> bool:
    """Whether ``If-None-Match`` names the file."""
    if given is None:
        return False
    return given.strip() == "*" or sha256 in _TAG.findall(given)


def _range(request: Request, file: ExportFile) -> _Range | None:
    """Return the range to send: all, unless one valid range is asked for.

    ``None``: it is beyond the end.

    Several ranges, other units, and ranges of another version (``If-Range``) are ignored (RFC 9110, 14.2).
    """
    tag = f'"{file.sha256}"'
    whole = _Range(0, file.bytes, is_part=False)
    given = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if given is None or not (given[1] or given[2]) or request.headers.get("if-range", tag) != tag:
        return whole
    if not given[1]:
        length = min(int(given[2]), file.bytes)
        return _Range(file.bytes - length, length, is_part=True) if length else None
    start, end = int(given[1]), int(given[2]) if given[2] else file.bytes - 1
    if end < start and given[2]:
        return whole
    if start >= file.bytes:
        return None
    return _Range(start, min(end, file.bytes - 1) - start + 1, is_part=True)
