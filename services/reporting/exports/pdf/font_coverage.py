"""Which characters the fonts have, read from their ``cmap`` tables (OpenType 1.9)."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

FONTS: Final = Path(__file__).with_name("fonts")
_SEGMENTS: Final = 4
_GROUPS: Final = 12


@lru_cache(maxsize=1)
def covered() -> frozenset[int]:
    """Return the code points that all fonts have.

    Raises:
        FileNotFoundError: the fonts are not installed.
    """
    files = sorted(FONTS.glob("*.ttf"))
    if not files:
        raise FileNotFoundError(f"There are no fonts in {FONTS}; run `make env`.")
    first, *others = (frozenset(_code_points(file.read_bytes())) for file in files)
    return first.intersection(*others)


def _code_points(font: bytes) -> Iterator[int]:
    cmap = _table(font, b"cmap")
    (count,) = struct.unpack_from(">H", font, cmap + 2)
    for number in range(count):
        (offset,) = struct.unpack_from(">I", font, cmap + 8 + 8 * number)
        (form,) = struct.unpack_from(">H", font, cmap + offset)
        if form == _GROUPS:
            yield from _groups(font, cmap + offset)
        elif form == _SEGMENTS:
            yield from _segments(font, cmap + offset)


def _table(font: bytes, tag: bytes) -> int:
    (count,) = struct.unpack_from(">H", font, 4)
    for number in range(count):
        name, _, offset, _ = struct.unpack_from(">4sIII", font, 12 + 16 * number)
        if name == tag:
            return int(offset)
    raise ValueError(f"the font has no table {tag!r}")


def _groups(font: bytes, at: int) -> Iterator[int]:
    (count,) = struct.unpack_from(">I", font, at + 12)
    for number in range(count):
        start, end, glyph = struct.unpack_from(">III", font, at + 16 + 12 * number)
        yield from (point for point in range(start, end + 1) if glyph + point - start)


def _segments(font: bytes, at: int) -> Iterator[int]:
    (twice,) = struct.unpack_from(">H", font, at + 6)
    count = twice // 2
    ends = struct.unpack_from(f">{count}H", font, at + 14)
    starts = struct.unpack_from(f">{count}H", font, at + 16 + twice)
    deltas = struct.unpack_from(f">{count}H", font, at + 16 + 2 * twice)
    ranges_at = at + 16 + 3 * twice
    offsets = struct.unpack_from(f">{count}H", font, ranges_at)
    for number, (start, end, delta, offset) in enumerate(zip(starts, ends, deltas, offsets, strict=True)):
        for point in range(start, min(end, 0xFFFE) + 1):
            glyph = point
            if offset:
                (glyph,) = struct.unpack_from(">H", font, ranges_at + 2 * number + offset + 2 * (point - start))
            if offset == 0 or glyph:
                glyph = (glyph + delta) & 0xFFFF
            if glyph:
                yield point
