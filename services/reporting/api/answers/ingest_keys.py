"""Ingest keys."""

from datetime import datetime

from services.reporting.api.answers.shapes import WriteAnswer
from services.reporting.api.fields import AnswerBody


class IngestKey(WriteAnswer):
    """``key`` is present only in the answer that creates it.

    Null limits: metering's defaults apply.
    """

    id: str
    product: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    events_per_second: int | None
    max_body_bytes: int | None
    replaces: str | None
    replaced_by: str | None
    version: int
    key: str | None = None


class IngestKeys(AnswerBody):
    items: list[IngestKey]
    next_cursor: str | None
