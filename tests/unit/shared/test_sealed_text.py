"""Texts that are sealed with a person's key."""

import pytest

from shared.events.commands import ALERTS_COMMANDS, ALLOCATION_COMMANDS, METERING_COMMANDS, WRITTEN_FIELDS
from shared.events.ids import PersonId, WrittenText, new_text_key
from shared.events.sealed import find_sealed, open_all, sealed_for
from shared.runtime.sealed_text import open_text, seal_text

PERSON, KEY = PersonId("5f3a" * 8), new_text_key()
TEXT = "Ordered twice, says Ünal 🙂"


def test_a_text_is_opened_with_the_key_that_sealed_it() -> None:
    sealed = seal_text(TEXT, PERSON, KEY)
    assert sealed_for(sealed) == PERSON
    assert open_text(sealed, KEY) == TEXT
    assert "Ordered" not in sealed


def test_the_longest_text_fits_its_field_when_it_is_sealed() -> None:
    assert len(seal_text("🙂" * 200, PERSON, KEY)) <= 2000


def test_a_text_stays_closed_when_the_key_is_another() -> None:
    assert open_text(seal_text(TEXT, PERSON, KEY), new_text_key()) is None


@pytest.mark.parametrize("broken", ["", "sealed:", f"sealed:{PERSON}:x", f"sealed:{PERSON}:a.b.c.d.e", "a word"])
def test_a_text_stays_closed_when_it_is_no_sealed_text(broken: str) -> None:
    assert open_text(broken, KEY) is None


def test_a_text_stays_closed_when_a_character_was_changed() -> None:
    sealed = seal_text(TEXT, PERSON, KEY)
    middle = sealed.rindex(".") - 5
    changed = sealed[:middle] + ("A" if sealed[middle] != "A" else "B") + sealed[middle + 1 :]
    assert open_text(changed, KEY) is None


def test_a_plain_text_is_sealed_for_nobody() -> None:
    assert sealed_for("sealed: by itself") is None


def test_the_sealed_texts_of_a_value_are_found_and_opened_wherever_they_are() -> None:
    sealed = seal_text(TEXT, PERSON, KEY)
    value = {"a": [1, {"b": sealed}, "plain"], "c": None, "d": sealed}
    assert list(find_sealed(value)) == [PERSON, PERSON]
    assert open_all(value, lambda text: open_text(text, KEY) or "") == {
        "a": [1, {"b": TEXT}, "plain"],
        "c": None,
        "d": TEXT,
    }


def test_every_reason_in_a_command_is_sealed() -> None:
    found = set()
    for payload in (*ALLOCATION_COMMANDS, *METERING_COMMANDS, *ALERTS_COMMANDS):
        for name, field in payload.model_fields.items():
            if "reason" in name or field.annotation == WrittenText:
                found.add(name)
    assert found == set(WRITTEN_FIELDS)
