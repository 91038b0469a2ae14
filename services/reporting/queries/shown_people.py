"""What is shown in place of ids of people and of texts that they sealed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel

from services.reporting.domain.people import address_of, erased, is_person_id
from services.reporting.store.people import find_people
from shared.events.sealed import sealed_for
from shared.events.state import PersonState
from shared.runtime.postgres.pool import Connection
from shared.runtime.sealed_text import open_text

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ShownPeople:
    """What is known of some people, by id."""

    known: Mapping[str, PersonState]

    def show(self, value: str) -> str:
        """Return a person's address, or an opened text; another value as it is.

        A person who is not known, and a text that cannot be opened, are shown as erased.
        """
        person = sealed_for(value)
        if person is None:
            return address_of(value, self.known) if is_person_id(value) else value
        state = self.known.get(person)
        opened = None if state is None else open_text(value, state.text_key)
        return erased(person) if opened is None else opened


def people_of(value: str | None) -> Iterable[str]:
    """Yield the person whom a value names, or with whose key it is sealed."""
    if value is not None:
        person = sealed_for(value) or value
        if is_person_id(person):
            yield person


async def load_people(connection: Connection, ids: Iterable[str]) -> ShownPeople:
    """Load what is known of people."""
    return ShownPeople(await find_people(connection, ids))


async def show_people(connection: Connection, items: Sequence[T], *fields: str) -> list[T]:
    """Return models or dataclasses with addresses and opened texts in these fields.

    Each field holds a person's id, a sealed text, another text, or ``None``.
    """
    values = [getattr(item, field) for item in items for field in fields]
    shown = await load_people(connection, (person for value in values for person in people_of(value)))
    return [
        _with(item, {field: shown.show(value) for field in fields if (value := getattr(item, field))}) for item in items
    ]


def _with(item: Any, changes: Mapping[str, str]) -> Any:
    if not changes:
        return item
    return item.model_copy(update=changes) if isinstance(item, BaseModel) else replace(item, **changes)
