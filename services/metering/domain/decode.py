"""Decoding of usage events, with one decoder call per record.

So records cannot affect each other. The fast path is a typed decoder. It does not report duplicate or additional keys,
so the quotation marks of the text are counted: if there are exactly those of the known keys and strings, there are no
others. Everything else takes the slow path, which finds the fault, or reads a correction or additional attributes.
"""

import json
import re
from collections import Counter
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from services.metering.domain.corrections import KINDS, CorrectionEvent, read_correction
from services.metering.domain.event_times import cut_time, may_be_rounded
from services.metering.domain.quantity import MAX_WHOLE, is_quantity, quantity_fault
from services.metering.domain.reasons import UNKNOWN, Claim, Reason, RejectedError
from services.metering.domain.text_checks import check_text
from shared.events.usage import UsageRecorded
from shared.media_types import is_json

RECORDED = UsageRecorded.event_type
NAME_LENGTH = 200
RESOURCE_LENGTH = 512
SLUG_LENGTH = 64

_MARKS = 2 * (9 + 8)
"""Quotation marks of a usage event without optional keys.

They are those of the nine required keys, and of the eight of their values that are strings.
"""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH)]
_Slug = Annotated[str, msgspec.Meta(min_length=1, max_length=SLUG_LENGTH)]


class UsageData(msgspec.Struct, gc=False):
    """The ``data`` of a usage event."""

    product: _Slug
    meter: _Slug
    quantity: int | str | msgspec.UnsetType = msgspec.UNSET
    resource: Annotated[str, msgspec.Meta(min_length=1, max_length=RESOURCE_LENGTH)] | msgspec.UnsetType = msgspec.UNSET


class UsageEvent(msgspec.Struct, gc=False):
    """A usage event as it was read, not yet judged.

    ``time`` has an offset; ``subject`` is any text.
    """

    specversion: Literal["1.0"]
    id: _Name
    source: _Name
    type: Literal["unitpool.platform.usage.recorded.v1"]
    subject: Annotated[str, msgspec.Meta(min_length=1)]
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    data: UsageData
    datacontenttype: str | msgspec.UnsetType = msgspec.UNSET
    extra: str | None = None
    """Additional attributes as JSON text, where there are any."""

    def claim(self) -> Claim:
        """Return what the event states about itself, for quarantine."""
        return Claim(
            source=_short(self.source, NAME_LENGTH) or UNKNOWN,
            product=_short(self.data.product, SLUG_LENGTH) or UNKNOWN,
            subscription=_short(self.subject, NAME_LENGTH),
            event_id=_short(self.id, NAME_LENGTH),
        )


_typed = msgspec.json.Decoder(UsageEvent).decode
_UNSET = msgspec.UNSET
_JSON = "application/json"
_BACKSLASH = ord("\\")
_MARK = ord('"')
_escaped_ascii = re.compile(rb"\\u00[0-7]").search
"""Hides a NUL, which PostgreSQL has no place for, or a digit of the time."""
_KNOWN = {"specversion", "id", "source", "type", "subject", "time", "data", "datacontenttype"}
_KNOWN_DATA = {"product", "meter", "quantity", "resource"}


def decode(raw: bytes | None) -> UsageEvent | CorrectionEvent:
    """Decode one record's value.

    Raises:
        RejectedError: the value is neither usage nor a correction, with the quarantine reason.
    """
    if raw is None:
        raise RejectedError("malformed", "the record has no value", Claim())
    try:
        event = _typed(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return _decode_slowly(raw)
    data, marks = event.data, _MARKS
    quantity = data.quantity
    if type(quantity) is int:
        marks += 2
        is_plain = 0 <= quantity < MAX_WHOLE
    elif quantity is _UNSET:
        is_plain = True
    else:
        marks += 4
        is_plain = is_quantity(quantity)
    if data.resource is not _UNSET:
        marks += 4
    if event.datacontenttype is not _UNSET:
        marks += 4 if event.datacontenttype == _JSON or is_json(event.datacontenttype) else 0
    # Searching one byte is much faster than searching a text, and nearly no event has a backslash.
    if is_plain and raw.count(_MARK) == marks and (_BACKSLASH not in raw or not _escaped_ascii(raw)):
        return _decode_slowly(raw) if may_be_rounded(raw) else event
    return _decode_slowly(raw)


def _decode_slowly(raw: bytes) -> UsageEvent | CorrectionEvent:
    """Decode with full checks, and find the reason for rejection where there is one.

    The result is a correction, or an event that may have additional attributes.
    """
    document = cut_time(_parse(raw))
    claim = _claim(document)
    _check_shape(document, claim)
    data = document["data"]
    if document["type"] in KINDS:
        return read_correction(document, claim)
    if isinstance(data.get("resource"), str | None) and not data.get("resource"):
        data.pop("resource", None)
    extra = {key: value for key, value in document.items() if key not in _KNOWN}
    extra_data = {key: value for key, value in data.items() if key not in _KNOWN_DATA}
    if extra_data:
        extra["data"] = extra_data
    try:
        event = msgspec.convert({key: document[key] for key in document.keys() & _KNOWN}, UsageEvent)
        event.extra = json.dumps(extra) if extra else None
        check_text((event.id, event.source, event.subject, event.data.resource, event.extra))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RejectedError("malformed", str(error), claim) from None
    return event


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RejectedError("malformed", f"not JSON: {_printable(str(error))}", claim_of(raw)) from None
    if not isinstance(document, dict):
        raise RejectedError("malformed", "not a JSON object", Claim())
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def claim_of(raw: bytes | None) -> Claim:
    """Read what a record states about itself, even if it is invalid.

    A key that occurs twice is ignored.
    """
    try:
        document = json.loads((raw or b"").decode("utf-8", "surrogateescape"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return Claim()
    return _claim(document) if isinstance(document, dict) else Claim()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    times = Counter(key for key, _ in pairs)
    return {key: value for key, value in pairs if times[key] == 1}


def _check_shape(document: dict[str, Any], claim: Claim) -> None:
    """Check what the typed decoder would report without its specific reason."""

    def reject(reason: Reason, detail: str) -> RejectedError:
        return RejectedError(reason, detail, claim)

    if document.get("specversion") != "1.0":
        raise reject("malformed", "not a CloudEvent of version 1.0")
    if not isinstance(document.get("type"), str):
        raise reject("malformed", "no type")
    if document["type"] != RECORDED and document["type"] not in KINDS:
        raise reject("unsupported_type", f"type {_printable(document['type'])[:NAME_LENGTH]} is not taken here")
    content_type = document.get("datacontenttype", _JSON)
    if not isinstance(content_type, str) or not is_json(content_type):
        raise reject("malformed", "datacontenttype names no media type of JSON, in UTF-8")
    data = document.get("data")
    if not isinstance(data, dict):
        raise reject("malformed", "no data")
    if "quantity" in data and not is_quantity(data["quantity"]):
        raise reject("invalid_quantity", quantity_fault(data["quantity"]))


def _claim(document: dict[str, Any]) -> Claim:
    data = document.get("data")
    product = data.get("product") if isinstance(data, dict) else None
    return Claim(
        source=_short(document.get("source"), NAME_LENGTH) or UNKNOWN,
        product=_short(product, SLUG_LENGTH) or UNKNOWN,
        subscription=_short(document.get("subject"), NAME_LENGTH),
        event_id=_short(document.get("id"), NAME_LENGTH),
    )


def _short(value: object, length: int) -> str | None:
    """Return ``value`` if it is printable text within the length, else ``None``."""
    return value if isinstance(value, str) and 0 < len(value) <= length and value.isprintable() else None


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
