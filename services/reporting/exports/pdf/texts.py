"""Texts as a PDF can show them.

A mark stands for each character that the font does not have.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from services.reporting.exports.pdf.font_coverage import covered

MARK: Final = "\u25a1"
"""A box, in place of a character that the font does not have."""
MAX_CHARACTERS: Final = 1_000
CUT: Final = "… [cut]"
"""What a text ends with that was cut."""
_BREAK: Final = "\u200b"
_LONG_WORD: Final = re.compile(r"[^\s\u200b]{25,}")
_WORD_PART: Final = re.compile(r"[^-_/.@,:;]{1,16}[-_/.@,:;]?|[-_/.@,:;]")
_FORBIDDEN: Final = frozenset({"Cc", "Co", "Cn", "Cs"})
"""Categories that PDF/UA does not allow.

They are control, private and unassigned characters, and halves of surrogate pairs.
"""


def shortened(text: str, characters: int) -> str:
    """Return a text of at most so many characters; ``CUT`` says that there were more."""
    return text if len(text) <= characters else text[: characters - len(CUT)] + CUT


def printable(text: str) -> str:
    """Return a text that can be shown.

    A line break and a tab become a space, and a long word gets places where a line may end.
    """
    known = covered()
    shown = "".join(_shown(one, known) for one in shortened(text, MAX_CHARACTERS))
    return _LONG_WORD.sub(lambda word: _BREAK.join(_WORD_PART.findall(word[0])), shown)


def printable_json(value: object) -> object:
    """Return parsed JSON with all its texts made ``printable``.

    Names of members stay as they are.
    """
    return _mapped(value, printable)


def _mapped(value: object, change: Callable[[str], str]) -> object:
    match value:
        case str():
            return change(value)
        case list():
            return [_mapped(one, change) for one in value]
        case dict():
            return {name: _mapped(one, change) for name, one in value.items()}
        case _:
            return value


def _shown(character: str, known: frozenset[int]) -> str:
    if character in "\n\r\t":
        return " "
    is_known = ord(character) in known and unicodedata.category(character) not in _FORBIDDEN
    return character if is_known and character != "\ufeff" else MARK
