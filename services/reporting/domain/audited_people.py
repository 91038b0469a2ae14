"""People in records of the audit log: recorded by id, shown by address."""

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from shared.events.outcomes import AuditRecord
from shared.events.sealed import Open, find_sealed, open_all

_OBJECT = re.compile(r"((?:.*/)?person/)(.+)")
_ONE, _SEVERAL = ("person", "primary_contact", "created_by"), "members"
"""Members of a state whose value is a person's id, and a list of such ids."""


def people_in(record: AuditRecord) -> Iterator[str]:
    """Yield the ids of the people in a record."""
    if found := _OBJECT.fullmatch(record.object):
        yield found[2]
    yield record.actor
    for state in (record.reason, record.before, record.after):
        yield from find_sealed(state)
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


def with_addresses(record: AuditRecord, show: Open, hidden: AbstractSet[str]) -> AuditRecord:
    """Return a record with addresses in place of ids, and its texts opened.

    ``show`` returns what to show of an id or of a sealed text. Of its ``members`` those who are ``hidden`` are left
    out.
    """
    return record.model_copy(
        update={
            "object": show_object(record.object, show),
            "actor": show(record.actor),
            "reason": open_all(record.reason, show),
            "before": show_state(record.before, show, hidden),
            "after": show_state(record.after, show, hidden),
        }
    )


def show_object(object: str, show: Open) -> str:
    """Return the object of a record, with an address in place of a person's id."""
    found = _OBJECT.fullmatch(object)
    return f"{found[1]}{show(found[2])}" if found else object


def show_state(state: Any, show: Open, hidden: AbstractSet[str]) -> Any:
    """Return a state of a record as ``with_addresses`` shows it."""
    return _shown(open_all(state, show), show, hidden)


def leaves_out(state: object, hidden: AbstractSet[str]) -> bool:
    """Whether ``with_addresses`` leaves out members of a state, as ``hidden``."""
    return bool(hidden) and any(person in hidden for person in _members(state))


def _members(value: object) -> Iterator[str]:
    match value:
        case dict():
            for name, one in value.items():
                if name == _SEVERAL and isinstance(one, list):
                    yield from (person for person in one if isinstance(person, str))
                else:
                    yield from _members(one)
        case list():
            for one in value:
                yield from _members(one)


def _shown(value: Any, show: Open, hidden: AbstractSet[str]) -> Any:
    match value:
        case dict():
            return dict(_member(name, one, show, hidden) for name, one in value.items())
        case list():
            return [_shown(one, show, hidden) for one in value]
        case _:
            return value


def _member(name: str, value: Any, show: Open, hidden: AbstractSet[str]) -> tuple[str, Any]:
    if name in _ONE and isinstance(value, str):
        return "email" if name == "person" else name, show(value)
    if name == _SEVERAL and isinstance(value, list):
        shown = [one for one in value if one not in hidden]
        return name, [show(one) if isinstance(one, str) else one for one in shown]
    return name, _shown(value, show, hidden)
