"""The erasure of a person, and its confirmation by each service."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from shared.events.envelope import Frozen, Instant
from shared.events.ids import AccountId, AccountRef, PersonId, PersonRef, WrittenText
from shared.events.outcomes import SYSTEM, AuditRecord
from shared.events.state import Version

CONFIRM: Final = "confirm-erasure"
"""The action of the audit record with which a service confirms an erasure."""


class ErasureState(Frozen):
    """The erasure of a person: requested (version 1), then carried out (version 2).

    It names people by id, and has no data of the person. ``account`` ``None``: they belonged to none.
    """

    person: PersonRef
    account: AccountRef | None = None
    requested_by: PersonRef
    reason: WrittenText
    requested_at: Instant
    due_at: Instant
    erased_at: Instant | None = None
    version: Version


def object_of(account: AccountId | None, person: PersonId | None) -> str:
    """Return how the audit log names a person."""
    of = "" if account is None else f"account/{account}/"
    return f"{of}person/{person or 'unknown'}"


def confirmation(
    service: str, person: PersonId, account: AccountId | None, at: datetime, ended: Mapping[str, int]
) -> AuditRecord:
    """Return the record with which a service confirms an erasure.

    ``ended``: how many of what the person had were ended or deleted.
    """
    return AuditRecord(
        at=at,
        account=account or "vendor",
        actor=SYSTEM,
        action=CONFIRM,
        object=object_of(account, person),
        after={"service": service, **ended},
        outcome="allowed",
    )
