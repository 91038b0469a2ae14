"""The form of text that is sealed with a person's key: ``sealed:<person>:<JWE>``.

``shared.runtime.sealed_text`` seals and opens it.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from shared.events.ids import PersonId

SEALED = re.compile(r"sealed:([0-9a-f]{32}):([A-Za-z0-9_.-]+)")
"""The person, and the JWE in its compact form."""

Open = Callable[[str], str]
"""A function that returns what to show of a sealed text."""


def sealed_for(text: str) -> PersonId | None:
    """Return with whose key a text is sealed; ``None`` if it is not sealed."""
    found = SEALED.fullmatch(text)
    return None if found is None else PersonId(found[1])


def find_sealed(value: object) -> Iterator[PersonId]:
    """Yield with whose keys the texts in a JSON value are sealed."""
    match value:
        case str():
            if (person := sealed_for(value)) is not None:
                yield person
        case dict():
            for one in value.values():
                yield from find_sealed(one)
        case list():
            for one in value:
                yield from find_sealed(one)


def open_all(value: Any, opened: Open) -> Any:
    """Return a JSON value with its sealed texts opened."""
    match value:
        case str() if sealed_for(value) is not None:
            return opened(value)
        case dict():
            return {name: open_all(one, opened) for name, one in value.items()}
        case list():
            return [open_all(one, opened) for one in value]
        case _:
            return value
