"""Addresses of people: they are normalised in one way.

Those that look like another address are refused.
"""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared.events.ids import Email
from shared.people import fault_of, fold, is_verified, read_address

REFUSED = {
    "Kelvin sign": "\u212aim@acme.example",
    "long s": "pau\u017fe@acme.example",
    "full width": "\uff4bim@acme.example",
    "full width at": "kim\uff20acme.example",
    "ligature": "\ufb01n@acme.example",
    "decomposed": "jose\u0301@acme.example",
    "zero width space": "k\u200bim@acme.example",
    "zero width joiner": "kim\u200d@acme.example",
    "word joiner": "kim\u2060@acme.example",
    "BOM": "\ufeffkim@acme.example",
    "right to left override": "\u202emik@acme.example",
    "right to left mark": "kim\u200f@acme.example",
    "isolate": "\u2066kim\u2069@acme.example",
    "soft hyphen": "ki\u00adm@acme.example",
    "variation selector": "kim\ufe0f@acme.example",
    "variation selector supplement": "kim\U000e0100@acme.example",
    "tag": "kim\U000e0061@acme.example",
    "grapheme joiner": "k\u034fim@acme.example",
    "Hangul filler": "kim\u3164@acme.example",
    "Mongolian separator": "kim\u180e@acme.example",
    "blank Braille": "kim\u2800@acme.example",
    "NUL": "kim\x00@acme.example",
    "delete": "kim\x7f@acme.example",
    "next line": "kim\x85@acme.example",
    "newline at the end": "kim@acme.example\n",
    "space": "kim @acme.example",
    "no-break space": "kim\xa0@acme.example",
    "line separator": "kim\u2028@acme.example",
    "private": "kim\ue000@acme.example",
    "unassigned": "kim\u0378@acme.example",
    "Cyrillic i": "k\u0456m@acme.example",
    "Cyrillic a in the domain": "kim@\u0430cme.example",
    "Greek o": "kim@acme.c\u03bfm",
    "Greek among Cyrillic": "\u043a\u03bf@acme.example",
    "two at signs": "kim@acme@example",
    "no domain": "kim@",
    "nothing": "",
    "too long": "k" * 250 + "@acme.example",
}
KNOWN = [
    "kim@acme.example",
    "o'neil+x@acme.example",
    "josé@acme.example",
    "иван@пример.example",
    "田中mac@例え.example",
]


@pytest.mark.parametrize("address", REFUSED.values(), ids=REFUSED.keys())
def test_an_address_that_looks_like_another_is_refused(address: str) -> None:
    assert fault_of(address)
    with pytest.raises(ValueError, match="must"):
        read_address(address)


@pytest.mark.parametrize("address", KNOWN)
def test_addresses_of_any_language_are_accepted(address: str) -> None:
    assert (fault_of(address), read_address(address)) == (None, address)


def test_an_address_is_folded_for_ascii_letters_only() -> None:
    assert read_address("KIM@Acme.EXAMPLE") == "kim@acme.example"
    assert read_address("JOSÉ@acme.example") == "josÉ@acme.example"


@given(st.text())
def test_folding_changes_ascii_letters_only(text: str) -> None:
    folded = fold(text)
    assert len(folded) == len(text)
    assert all(
        one == other or (one.isascii() and one.lower() == other) for one, other in zip(text, folded, strict=True)
    )
    assert fold(folded) == folded


@given(st.characters())
def test_two_addresses_that_fold_alike_differ_in_ascii_case_only(character: str) -> None:
    address = f"{character}im@acme.example"
    if fault_of(address) is None and read_address(address) == "kim@acme.example":
        assert character in {"k", "K"}, unicodedata.name(character, "?")


def test_an_address_is_read_when_it_was_stored_before_these_rules() -> None:
    stored = TypeAdapter(Email)
    assert stored.validate_python("\ufeffkim@acme.example") == "\ufeffkim@acme.example"
    assert stored.validate_python("\u212aIM@acme.example") == "\u212aim@acme.example"


def test_an_address_is_verified_only_when_the_claim_is_true() -> None:
    words: list[object] = [False, None, 0, 1, 1.0, "true", "false", "", [], [True], {}]
    for word in words:
        assert not is_verified([word], may_be_absent=True), word
        assert not is_verified([True, word], may_be_absent=True), word
    assert is_verified([True], may_be_absent=False)
    assert [is_verified([], may_be_absent=may) for may in (True, False)] == [True, False]
