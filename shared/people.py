"""E-mail addresses as identities of people.

They are read and compared in one way everywhere:

- The letters A to Z are folded, and no others: two addresses that differ in anything else are two people. Whole-Unicode
  folding would make the Kelvin sign a ``k``, and so one person of two.
- An address that cannot be distinguished from another by eye is refused wherever a person is added or signs in
  (``read_address``): characters that are not seen (control and format characters, zero width, marks of direction, BOM,
  fillers, variation selectors), spaces, unassigned and private ones, spellings that Unicode holds for compatibility
  (Kelvin sign, full width, decomposed accents: all that is not its own NFKC form), and words that mix Latin letters
  with those of a script that looks like them.
- An address stored before these rules is read as it is (``fold``), so that it can be shown, revoked and removed.
"""

import re
import unicodedata
from collections.abc import Collection

MAX_LENGTH = 254
_UPPER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_SHAPE = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")
_WORD = re.compile(r"[^@.]+")
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
_INVISIBLE = frozenset(
    {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
    | {*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
)
"""Invisible characters: joiners, fillers, blank Braille, variation selectors."""
_ALIKE = frozenset({"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "DESERET", "OLD", "GOTHIC"})
"""Scripts with letters that look like Latin ones."""


def fold(address: str) -> str:
    """Fold ``address`` for comparison.

    The letters A to Z become a to z, and everything else is unchanged.
    """
    return address.translate(_UPPER)


def read_address(typed: str) -> str:
    """Check and fold an e-mail address that will identify a person.

    Raises:
        ValueError: it cannot identify a person; the message says why.
    """
    if len(typed) > MAX_LENGTH:
        raise ValueError(f"must have {MAX_LENGTH} characters at most")
    if any(_is_unseen(character) for character in typed):
        raise ValueError("must not have spaces, or invisible characters")
    if not _SHAPE.fullmatch(typed):
        raise ValueError("must be an e-mail address, like name@example.com")
    if unicodedata.normalize("NFKC", typed) != typed:
        raise ValueError("must be written with plain characters: some only look like a letter or digit")
    if any(_is_mixed(word) for word in _WORD.findall(typed)):
        raise ValueError("must not mix letters of scripts that look alike")
    return fold(typed)


def fault_of(address: str) -> str | None:
    """Say why ``address`` cannot identify a person; ``None`` if it can."""
    try:
        read_address(address)
    except ValueError as error:
        return str(error)
    return None


def is_verified(words: Collection[object], *, may_be_absent: bool) -> bool:
    """Whether an issuer has verified an address.

    ``words``: the values of ``email_verified`` in its token. Every value must be JSON ``true``, not ``"true"`` or 1.
    Without any value: ``may_be_absent``.
    """
    return all(word is True for word in words) if words else may_be_absent


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE_CATEGORIES or ord(character) in _INVISIBLE


def _is_mixed(word: str) -> bool:
    """Return whether a word mixes letters of scripts that look alike.

    These scripts are Latin and those of ``_ALIKE``: letters of any two of them are a mix.
    """
    scripts = [unicodedata.name(one, "").split(" ")[0] for one in word if one.isalpha()]
    kinds = {script for script in scripts if script == "LATIN" or script in _ALIKE}
    return len(kinds) > 1
