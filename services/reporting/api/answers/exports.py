"""Exports."""

from datetime import datetime

from services.reporting.api.fields import AnswerBody
from services.reporting.domain.exports import State
from services.reporting.domain.reports.definitions import Format


class FileShown(AnswerBody):
    """The file of an export; `bytes` is its size."""

    name: str
    bytes: int
    sha256: str
    media_type: str


class LinkShown(AnswerBody):
    """A link that downloads the file without a token, until it expires."""

    url: str
    expires_at: datetime


class ExportShown(AnswerBody):
    """An export of the caller.

    ``rows_expected``: an estimate; null before the first attempt. ``failure``: why it failed. ``file`` and ``link``:
    null unless it has succeeded. ``expires_at``: when the file is deleted.
    """

    id: str
    report: str
    format: Format
    params: dict[str, str]
    as_of: datetime
    state: State
    rows_done: int
    rows_expected: int | None
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    failure: str | None
    file: FileShown | None
    link: LinkShown | None


class Exports(AnswerBody):
    items: list[ExportShown]
    next_cursor: str | None
