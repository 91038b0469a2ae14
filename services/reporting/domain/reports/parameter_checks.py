"""Checks of what a person requests of a report: parameters, instant and format.

A parameter that is accepted is normalised, so that equal requests have equal parameters: times become RFC 3339 in UTC,
a day becomes its start (``from``) or its end (``to``) in the requested time zone, an address is folded.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, get_args
from zoneinfo import ZoneInfo

from services.reporting.domain.actions import ACTIONS
from services.reporting.domain.reports.definitions import Format, ParameterName, Report
from services.reporting.domain.usage_spans import UnalignedZoneError, check_zone
from shared import people
from shared.events.envelope import as_written, rfc3339
from shared.events.quarantine import QuarantineReason

FIRST_YEAR: Final = 1971
LAST_YEAR: Final = 2300
KEPT_DAYS: Final[Mapping[str, int]] = {"usage-by-window": 366, "usage-by-day": 395, "usage-by-hour": 45}
"""Days for which the rows of a report are retained; others: permanently."""
MAX_LENGTH: Final = 254
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


class ParameterError(ValueError):
    """What was requested is not valid.

    ``field``: the parameter, or ``report``, ``format`` or ``as_of``; ``message``: what is wrong with it, for a person.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field
        self.message = message


def check_parameters(report: Report, params: Mapping[str, object], now: datetime) -> Mapping[str, str]:
    """Return the parameters of a request, normalised, in the report's order.

    Raises:
        ParameterError: one is unknown, missing or wrong.
    """
    for name in params:
        if name not in report.parameter_names:
            raise ParameterError(name, f"is not a parameter of this report; it has {', '.join(report.parameter_names)}")
    texts: dict[str, str] = {}
    for one in report.parameters:
        given = params.get(one.name)
        if given is None and one.required:
            raise ParameterError(one.name, "is required")
        if given is not None:
            texts[one.name] = _text(one.name, given)
    zone = _zone(texts.get("tz", "UTC"))
    checked = {
        name: _instant(name, text, zone) if name in {"from", "to"} else _CHECKS[name](text)
        for name, text in texts.items()
    }
    _check_span(report, checked, now)
    return checked


def check_as_of(report: Report, as_of: datetime | None, now: datetime) -> datetime:
    """Return the instant of a request's rows; ``None``: now.

    Raises:
        ParameterError: it is in the future, or the report has no history.
    """
    if as_of is None:
        return now
    if not report.has_history:
        raise ParameterError("as_of", "cannot be given: this report shows what is now, and has no history")
    if as_of.tzinfo is None:
        raise ParameterError("as_of", "must have an offset, like 2026-11-24T10:15:00Z")
    if as_of > now:
        raise ParameterError("as_of", f"is in the future; it is {rfc3339(now)} now")
    return as_of.astimezone(UTC)


def check_format(report: Report, format: str) -> Format:
    """Return the format of a request.

    Raises:
        ParameterError: the report is not offered in it.
    """
    for offered in report.formats:
        if offered == format:
            return offered
    raise ParameterError("format", f"must be one of {', '.join(report.formats)} for this report")


def _text(name: str, given: object) -> str:
    if not isinstance(given, str) or not given or len(given) > MAX_LENGTH or not given.isprintable():
        raise ParameterError(name, f"must be printable text of at most {MAX_LENGTH} characters")
    return given


def _zone(name: str) -> ZoneInfo:
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (ValueError, LookupError, OSError):  # a folder of time zones is an OSError
        pass
    raise ParameterError("tz", "is not a time zone, like Europe/Berlin")


def _instant(name: str, text: str, zone: ZoneInfo) -> str:
    """Return an instant as text; of a day, its start or, for ``to``, its end."""
    is_day = len(text) == len("2026-11-24")
    try:
        as_written(text)
        if is_day:
            day = date.fromisoformat(text) + timedelta(days=name == "to")
            at = datetime.combine(day, time(), zone).astimezone(UTC)
        else:
            at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ParameterError(name, "must be a time like 2026-11-24T10:15:00Z, or a day like 2026-11-24") from None
    if at.tzinfo is None:
        raise ParameterError(name, "must have an offset, like 2026-11-24T10:15:00Z")
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ParameterError(name, f"must be between the years {FIRST_YEAR} and {LAST_YEAR}")
    return rfc3339(at.astimezone(UTC))


def _check_span(report: Report, checked: Mapping[str, str], now: datetime) -> None:
    start, end = (datetime.fromisoformat(checked[name]) if name in checked else None for name in ("from", "to"))
    if start is not None and end is not None and end <= start:
        raise ParameterError("to", "must be after from")
    days = KEPT_DAYS.get(report.id)
    if days is None:
        return
    kept_from = now - timedelta(days=days)
    for name, at in (("from", start), ("to", end)):
        if at is not None and at < kept_from:
            raise ParameterError(name, f"is before {rfc3339(kept_from)}: this usage is retained for {days} days")
    if start is not None and (end or now) - start > timedelta(days=days):
        raise ParameterError("to", f"is more than {days} days after from")
    if "tz" in checked:
        _check_days(ZoneInfo(checked["tz"]), start or kept_from, min(end or now, now))


def _check_days(zone: ZoneInfo, start: datetime, end: datetime) -> None:
    try:
        check_zone(zone, start, end)
    except UnalignedZoneError:
        raise ParameterError("tz", "begins its days within an hour of UTC, and usage is stored by the hour") from None


def _id(name: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not _ID.fullmatch(text):
            raise ParameterError(name, f"is not the id of a {name}")
        return text

    return check


def _one_of(name: str, *values: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in values:
            raise ParameterError(name, f"must be one of {', '.join(values)}")
        return text

    return check


def _action(text: str) -> str:
    if text not in ACTIONS:
        raise ParameterError("action", "is not an action that is audited, like purchase-lot")
    return text


_CHECKS: Final[Mapping[str, Callable[[str], str]]] = {
    **{name: _id(name) for name in ("subscription", "account", "product", "meter")},
    "tz": str,
    "action": _action,
    "actor": people.fold,
    "outcome": _one_of("outcome", "allowed", "denied"),
    "reason": _one_of("reason", *get_args(QuarantineReason)),
    "flavour": _one_of("flavour", "raw", "spreadsheet"),
}
assert set(get_args(ParameterName)) == {*_CHECKS, "from", "to"}  # noqa: S101  # each parameter is checked
