"""What may not change within a major version, found by comparing two JSON Schemas.

Readers and writers are upgraded one after the other, in any order. So a new reader must take what an old writer wrote
(backward), and an old reader what a new one writes (forward). Only two changes work in both directions: a new optional
field, and changed titles or descriptions. Everything else is a new major version, a new type.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_LIMITS = (
    "const", "enum", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
)  # fmt: skip
"""Keywords that say which values are taken."""


def breaks(old: Schema, new: Schema) -> list[str]:
    """List every change from ``old`` to ``new`` that breaks a reader or writer.

    Each is a sentence that begins with the place.
    """
    return list(_Comparison(old, new).compare(old, new, "event"))


class _Comparison:
    """Two documents, whose references are followed as they come."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old = old
        self._new = new
        self._seen: set[tuple[str, str]] = set()

    def compare(self, old: Any, new: Any, place: str) -> Iterator[str]:
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            references = (str(old.get("$ref")), str(new.get("$ref")))
            if "$ref" in old and "$ref" in new:
                if references in self._seen:
                    return
                self._seen.add(references)
            yield from self._compare(_follow(old, self._old), _follow(new, self._new), place)
        elif old != new:
            yield f"{place}: was {old}, is {new}"

    def _compare(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        if "anyOf" in old or "anyOf" in new:
            yield from self._alternatives(old, new, place)
            return
        if old.get("type") != new.get("type"):
            yield f"{place}: the type was {old.get('type')}, is {new.get('type')}"
            return
        for limit in _LIMITS:
            if old.get(limit) != new.get(limit):
                yield f"{place}: {limit} was {old.get(limit)}, is {new.get(limit)}"
        yield from self._fields(old, new, place)
        yield from self._items(old, new, place)

    def _alternatives(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        """A union must keep each of its alternatives, in both directions."""
        before = {_words(alternative): alternative for alternative in old.get("anyOf", [old])}
        after = {_words(alternative): alternative for alternative in new.get("anyOf", [new])}
        for name, alternative in before.items():
            if name in after:
                yield from self.compare(alternative, after[name], place)
            else:
                yield f"{place}: no longer takes {name}"
        for name in after:
            if name not in before:
                yield f"{place}: also takes {name}, which an older reader does not"

    def _fields(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        was_required, is_required = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            if name not in after:
                yield f"{place}.{name}: the field was removed"
                continue
            if name in is_required - was_required:
                yield f"{place}.{name}: was optional, is required"
            if name in was_required - is_required:
                yield f"{place}.{name}: was required, is optional"
            yield from self.compare(before[name], after[name], f"{place}.{name}")
        for name in after:
            if name not in before and name in is_required:
                yield f"{place}.{name}: a new field is required"
        yield from self._extra_fields(old, new, place)

    def _extra_fields(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        yield from self.compare(before, after, f"{place}.*")

    def _items(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        yield from self.compare(old.get("items", True), new.get("items", True), f"{place}[]")
        before, after = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(before) != len(after):
            yield f"{place}: had {len(before)} parts, has {len(after)}"
        for number, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from self.compare(one, other, f"{place}[{number}]")


def _follow(schema: Schema, document: Schema) -> Schema:
    while "$ref" in schema:
        schema = document["$defs"][str(schema["$ref"]).removeprefix("#/$defs/")]
    return schema


def _words(schema: Schema) -> str:
    """The name that distinguishes an alternative of a union: its model, or its type."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix("#/$defs/")
    return " ".join(str(schema[word]) for word in ("format", "type") if word in schema) or "anything"
