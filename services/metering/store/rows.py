"""Placed usage as rows of PostgreSQL's binary COPY format.

One ``struct`` call per row instead of one encoder call per field: see docs/performance-log/ingest.md.
Format: https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS; numeric: ``numeric_recv`` of its source.
"""

import struct
from collections.abc import AsyncIterator, Sequence
from functools import lru_cache

from msgspec.structs import astuple as _fields

from services.metering.domain.catalogue import DAY_US
from services.metering.domain.placement import NEAR_MIDNIGHT_US, Usage

COLUMNS = (
    "n",
    "at",
    "received_at",
    "kafka_offset",
    "digest",
    "subscription",
    "meter",
    "source",
    "kafka_partition",
    "window_start",
    "kind",
    "midnight",
    "quantity",
    "resource",
    "extra",
)

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_EPOCH_US = 946_684_800_000_000
"""PostgreSQL's epoch, 2000-01-01, in microseconds since 1970."""
_ROW = struct.Struct("!h ii iq iq iq i16s ii ii ii ii iq ih").pack
_TIMESTAMP = struct.Struct("!iq").pack
_FIELDS = len(COLUMNS)
_NULL = struct.pack("!i", -1)
_LENGTH = struct.Struct("!i").pack
_BASE = 10_000


@lru_cache(maxsize=16_384)
def numeric(value: int | str) -> bytes:
    """Encode a quantity as a numeric field, length first."""
    whole, _, decimals = str(value).partition(".")
    scale = len(decimals)
    groups_after = -(-scale // 4)
    scaled = int(whole + decimals) * 10 ** (4 * groups_after - scale)
    digits: list[int] = []
    while scaled:
        scaled, digit = divmod(scaled, _BASE)
        digits.append(digit)
    weight = len(digits) - groups_after - 1
    while digits and digits[0] == 0:
        digits.pop(0)
    digits.reverse()
    body = struct.pack(f"!hhhh{len(digits)}h", len(digits), weight if digits else 0, 0, scale, *digits)
    return _LENGTH(len(body)) + body


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _LENGTH(len(encoded)) + encoded


def encode(placed: Sequence[tuple[int, Usage, int, int, int]]) -> tuple[bytes, bool]:
    """Encode placed usage as the bytes of a binary COPY.

    Each item is ``(n, usage, received_us, partition, offset)``. Return the bytes, and whether an event is near a
    midnight.
    """
    parts, near_midnight = [_HEADER], False
    add = parts.append
    for n, usage, received_us, partition, offset in placed:
        digest, at_us, subscription, meter, kind, window_us, _, source, _, quantity, resource, extra, _ = _fields(usage)
        add(_ROW(
            _FIELDS, 4, n, 8, at_us - _EPOCH_US, 8, received_us - _EPOCH_US, 8, offset, 16, digest, 4, subscription,
            4, meter, 4, source, 4, partition, 8, window_us - _EPOCH_US, 2, kind,
        ))  # fmt: skip
        if NEAR_MIDNIGHT_US <= at_us % DAY_US < DAY_US - NEAR_MIDNIGHT_US:
            add(_NULL)
        else:
            near_midnight = True
            add(_TIMESTAMP(8, (usage.midnight_us or 0) - _EPOCH_US))
        add(numeric(quantity))
        if resource is None:
            add(_NULL)
        else:
            text = resource.encode()
            add(_LENGTH(len(text)))
            add(text)
        add(_NULL if extra is None else _text(extra))
    add(_TRAILER)
    return b"".join(parts), near_midnight


async def stream(data: bytes) -> AsyncIterator[bytes]:
    """Yield the data, as the source of a COPY."""
    yield data
