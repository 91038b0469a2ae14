"""People in the audit log: recorded by id, shown by address."""

from typing import Any

from services.reporting.domain.audited_people import people_in, with_addresses
from services.reporting.queries.shown_people import ShownPeople
from shared.events.outcomes import AuditRecord
from tests.support.builders.people import person_id, written
from tests.support.builders.published import NOW, PRIMARY, STRANGER, VIEWER, person

KNOWN = ShownPeople({person_id(one): person(one).person for one in (PRIMARY, VIEWER)}).show
PAULA, VICTOR, SAM = (person_id(one) for one in (PRIMARY, VIEWER, STRANGER))


def record(**values: Any) -> AuditRecord:
    """Build a record of a decision about the account."""
    same = {"at": NOW, "account": "acme", "actor": "system", "action": "x", "object": "subscription/sub-1"}
    return AuditRecord.model_validate({**same, "outcome": "allowed", **values})


def test_people_are_found_wherever_a_record_names_them() -> None:
    states = {
        "before": {"primary_contact": PAULA, "grants": [{"person": VICTOR, "grant": "viewer"}]},
        "after": {"members": [SAM], "version": 2, "name": PAULA},
    }
    assert sorted(people_in(record(**states))) == sorted([PAULA, VICTOR, SAM, "system"])
    assert list(people_in(record(object=f"account/acme/person/{VICTOR}"))) == [VICTOR, "system"]
    assert list(people_in(record(actor=SAM))) == [SAM]


def test_people_are_shown_by_address_and_hidden_ones_are_left_out() -> None:
    states = {
        "before": {"primary_contact": PAULA, "grants": [{"person": VICTOR, "grant": "viewer"}]},
        "after": {"members": [VICTOR, PAULA], "person": VICTOR, "version": 2, "name": PAULA},
    }
    shown = with_addresses(record(object=f"account/acme/person/{PAULA}", **states), KNOWN, {PAULA})
    assert shown.object == f"account/acme/person/{PRIMARY}"
    assert shown.before == {"primary_contact": PRIMARY, "grants": [{"email": VIEWER, "grant": "viewer"}]}
    assert shown.after == {"members": [VIEWER], "email": VIEWER, "version": 2, "name": PAULA}


def test_people_of_whom_nothing_is_known_are_shown_as_erased() -> None:
    erased = f"Erased person {SAM[:4]}"
    shown = with_addresses(record(object=f"account/acme/person/{SAM}", after={"members": [SAM, 7]}), KNOWN, set())
    assert (shown.object, shown.after) == (f"account/acme/person/{erased}", {"members": [erased, 7]})
    odd = record(object="account/acme/person/unknown", before={"person": None, "members": "none"})
    assert with_addresses(odd, KNOWN, set()).before == {"person": None, "members": "none"}


def test_a_record_is_unchanged_when_it_names_nobody() -> None:
    plain = record(before={"scan": 300}, after={"scan": 400}, reason="a merger")
    assert with_addresses(plain, KNOWN, {PAULA}) == plain


def test_the_actor_is_shown_by_address_and_texts_are_opened() -> None:
    texts = {"reason": written("a merger", PRIMARY), "after": {"email": written("x@acme.example", VIEWER)}}
    one = record(actor=PAULA, **texts)
    assert sorted(people_in(one)) == sorted([PAULA, PAULA, VICTOR])
    shown = with_addresses(one, KNOWN, set())
    assert (shown.actor, shown.reason, shown.after) == (PRIMARY, "a merger", {"email": "x@acme.example"})
    assert with_addresses(record(reason=written("hers", STRANGER)), KNOWN, set()).reason == f"Erased person {SAM[:4]}"
