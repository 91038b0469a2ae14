"""Files of the page, read and compressed at start.

Their URLs contain a hash, so browsers cache them.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request, Response

STATIC = Path(__file__).parent.parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, plain and compressed. ``mark``: the beginning of its hash."""

    plain: bytes
    packed: bytes
    media_type: str
    mark: str


class Assets:
    """All files under ``static``."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._files: Mapping[str, Asset] = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in sorted(folder.rglob("*"))
            if path.suffix in _TYPES
        }

    def address(self, name: str) -> str:
        """Return the URL of a file; it changes with the content."""
        asset = self._files.get(name)
        return f"/static/{name}?v={asset.mark}" if asset else f"/static/{name}"

    def answer(self, request: Request, name: str) -> Response:
        """Answer with the file, or with 404."""
        asset = self._files.get(name)
        if asset is None:
            return Response("There is no such file.", 404, media_type="text/plain")
        packs = "gzip" in request.headers.get("accept-encoding", "")
        current = request.query_params.get("v") == asset.mark
        headers = {"Cache-Control": _IMMUTABLE if current else "no-cache", "Vary": "Accept-Encoding"}
        if packs:
            headers["Content-Encoding"] = "gzip"
        return Response(asset.packed if packs else asset.plain, headers=headers, media_type=asset.media_type)


def _read(path: Path) -> Asset:
    plain = path.read_bytes()
    mark = hashlib.sha256(plain).hexdigest()[:12]
    return Asset(plain, gzip.compress(plain, 9, mtime=0), f"{_TYPES[path.suffix]}; charset=utf-8", mark)
