"""Identity of requests, and derived ids."""

import pytest

from services.reporting.api.accounts import id_from
from services.reporting.commands import kafka_key, request_digest
from services.reporting.domain import permissions
from services.reporting.domain.caller import Caller
from services.reporting.store.paging import CursorError, read_cursor, write_cursor
from shared.events.commands.accounts import SetFlex
from shared.events.commands.metering import CreateIngestKey, RevokeIngestKey
from shared.events.commands.plans import ApplyPlan
from tests.support.builders.published import ALLOCATOR, PRIMARY, START, STRANGER


def plan(units: int = 5, revision: int = 1) -> ApplyPlan:
    """Build a plan decided on a revision."""
    seen = [{"product": "scan", "window_start": START, "revision": revision}]
    changes = [{"product": "scan", "units": units}]
    return ApplyPlan.model_validate({"subscription": "sub-1", "changes": changes, "seen": seen})


def test_request_digest_ignores_the_fields_that_reporting_adds() -> None:
    assert request_digest(plan()) == request_digest(plan(revision=2))
    assert request_digest(plan()) != request_digest(plan(units=6))
    keys = [
        CreateIngestKey.model_validate({"key": "k", "product": "scan", "secret_sha256": digit * 64}) for digit in "ab"
    ]
    assert request_digest(keys[0]) == request_digest(keys[1])


def test_kafka_key_is_the_aggregate() -> None:
    assert kafka_key(plan()) == "sub-1"
    assert kafka_key(SetFlex.model_validate({"account": "acme", "enabled": True, "reason": "x"})) == "acme"
    with pytest.raises(ValueError, match="needs its key"):
        kafka_key(RevokeIngestKey(key="k"))


@pytest.mark.parametrize(
    ("name", "made"), [("Acme Corporation", "acme-corporation"), ("Ümläut & Söhne", "umlaut-sohne"), ("山田", "")]
)
def test_account_id_is_derived_from_its_name(name: str, made: str) -> None:
    assert id_from(name) == made


def test_cursor_decodes_to_the_encoded_place() -> None:
    assert read_cursor(write_cursor("a", "b"), 2) == ["a", "b"]
    assert read_cursor(None, 2) is None
    for wrong in ("", "x", write_cursor("a"), "é"):
        with pytest.raises(CursorError):
            read_cursor(wrong, 2)


def test_permissions_are_those_of_all_roles_together() -> None:
    assert permissions.sort_roles(Caller(PRIMARY, "P"), {"auditor", "primary"}) == ("primary", "auditor")
    assert permissions.sort_roles(Caller(ALLOCATOR, "A", vendor=True), {"allocator"}) == ("vendor", "allocator")
    assert permissions.sort_roles(Caller(STRANGER, "S"), ()) == ()
    assert "set_policy" not in permissions.permissions_of(["allocator", "auditor"])
