"""Media types by their grammar (RFC 9110, 8.3.1), and which of them are JSON."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

MAX_LENGTH = 1000
_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~\x80-\xff])*"'
_TYPE = re.compile(rf"[ \t]*({_WORD}/{_WORD})[ \t]*")
_PARAMETER = re.compile(rf";[ \t]*(?:({_WORD})=({_WORD}|{_QUOTED})[ \t]*)?")
_ESCAPED = re.compile(r"\\(.)")
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
"""JSON is UTF-8 (RFC 8259, 8.1), of which ASCII is a part."""


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type.

    ``name`` is ``type/subtype`` in lower case; the parameters' names are in lower case too.
    """

    name: str
    parameters: Mapping[str, str]

    @property
    def is_json(self) -> bool:
        """Whether what it describes is JSON text, encoded in UTF-8.

        JSON has the subtype ``json``, or one that ends in ``+json`` (RFC 6839). It is UTF-8 unless the parameter
        ``charset`` says otherwise.
        """
        subtype = self.name.partition("/")[2]
        is_utf_8 = self.parameters.get("charset", "utf-8").lower() in _UTF_8
        return (subtype == "json" or (subtype.endswith("+json") and subtype != "+json")) and is_utf_8


@lru_cache(maxsize=1024)
def parse(text: str) -> MediaType | None:
    """Parse a media type, as in a header field; ``None`` if the text is not one."""
    begun = _TYPE.match(text) if len(text) <= MAX_LENGTH else None
    if begun is None:
        return None
    parameters: dict[str, str] = {}
    place = begun.end()
    while place < len(text):
        found = _PARAMETER.match(text, place)
        if found is None:
            return None
        place = found.end()
        name, value = found.groups()
        if name is None:
            continue
        if name.lower() in parameters:
            return None
        is_quoted = value.startswith('"')
        parameters[name.lower()] = _ESCAPED.sub(r"\1", value[1:-1]) if is_quoted else value
    return MediaType(begun.group(1).lower(), parameters)


def is_json(text: str) -> bool:
    """Whether the text names a media type whose content is JSON."""
    found = parse(text)
    return found is not None and found.is_json
