"""Audit records of exports and downloads, allowed and denied."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from services.reporting.domain.caller import Caller
from services.reporting.domain.exports import VENDOR, Export, NewExport
from services.reporting.exports.parameters import impersonal
from shared.events.envelope import rfc3339
from shared.events.outcomes import AuditRecord

EXPORT: Final = "export"
DOWNLOAD: Final = "download-export"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from: the network address, and its correlation id."""

    address: str | None
    correlation_id: str | None

    @classmethod
    def of(cls, caller: Caller) -> "Origin":
        """Return the origin of a caller's request."""
        return cls(caller.address, caller.correlation_id)


def audit_record(
    action: Literal["export", "download-export"],
    export: Export | NewExport,
    origin: Origin,
    at: datetime,
    denied: str | None = None,
) -> AuditRecord:
    """Return the record of a request or download.

    ``denied``: the code with which it was refused.
    """
    after: dict[str, Any] = {
        "report": export.report,
        "format": export.format,
        "as_of": rfc3339(export.as_of),
        "parameters": impersonal(export.parameters),
    }
    return AuditRecord(
        at=at,
        account=export.covers or VENDOR,
        subscription=export.parameters.get("subscription"),
        actor=export.requested_by,
        address=origin.address,
        action=action,
        object=f"export/{export.id}",
        after=after,
        outcome="denied" if denied else "allowed",
        reason=denied,
        correlation_id=origin.correlation_id,
    )
