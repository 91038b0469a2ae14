"""People in records of the audit log: recorded by id, shown by address."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from services.reporting.domain.people import address_of
from shared.events.outcomes import AuditRecord
from shared.events.state import PersonState

_OBJECT = "/person/"
UNKNOWN = "unknown"
"""In place of an id: the command named nobody of the account."""
_ONE, _SEVERAL = ("person", "primary_contact"), "members"
"""Members of a state whose value is a person's id, and a list of such ids."""


def people_in(record: AuditRecord) -> Iterator[str]:
    """Yield the ids of the people in a record."""
    _, found, person = record.object.partition(_OBJECT)
    if found and person != UNKNOWN:
        yield person
    for state in (record.before, record.after):
        yield from _people(state)


def _people(value: object) -> Iterator[str]:
    match value:
        case dict():
            for name, one in value.items():
                if name in _ONE and isinstance(one, str):
                    yield one
                elif name == _SEVERAL and isinstance(one, list):
                    yield from (person for person in one if isinstance(person, str))
                else:
                    yield from _people(one)
        case list():
            for one in value:
                yield from _people(one)


def with_addresses(record: AuditRecord, known: Mapping[str, PersonState], hidden: AbstractSet[str]) -> AuditRecord:
    """Return a record with addresses in place of ids.

    Of its ``members`` those who are ``hidden`` are left out.
    """
    before, found, person = record.object.partition(_OBJECT)
    shown = UNKNOWN if person == UNKNOWN else address_of(person, known)
    return record.model_copy(
        update={
            "object": f"{before}{found}{shown}" if found else record.object,
            "before": _shown(record.before, known, hidden),
            "after": _shown(record.after, known, hidden),
        }
    )


def _shown(value: Any, known: Mapping[str, PersonState], hidden: AbstractSet[str]) -> Any:
    match value:
        case dict():
            return dict(_member(name, one, known, hidden) for name, one in value.items())
        case list():
            return [_shown(one, known, hidden) for one in value]
        case _:
            return value


def _member(name: str, value: Any, known: Mapping[str, PersonState], hidden: AbstractSet[str]) -> tuple[str, Any]:
    if name in _ONE and isinstance(value, str):
        return "email" if name == "person" else name, address_of(value, known)
    if name == _SEVERAL and isinstance(value, list):
        shown = [one for one in value if one not in hidden]
        return name, [address_of(one, known) if isinstance(one, str) else one for one in shown]
    return name, _shown(value, known, hidden)
