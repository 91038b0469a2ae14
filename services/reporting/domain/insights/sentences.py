"""The sentences of run-outs, for people. Dates are UTC."""

from datetime import datetime

from services.reporting.domain.insights.run_outs import RunOut
from shared.events.state import SubscriptionState


def run_out_sentence(run_out: RunOut, name: str | None, unit_label: str, now: datetime) -> str:
    """Say when the units of a product called ``name``, or of the pool, are used up."""
    subject, are = ("The pool", "is") if name is None else (f"The units of {name}", "are")
    term_ends = f"the term ends {day(run_out.term_end, now)}"
    match run_out.basis:
        case "not_forecast":
            return "There is no forecast."
        case "not_allocated":
            return "No units are purchased." if name is None else f"No units are allocated to {name}."
        case "used_up":
            figures = f"{run_out.consumed:,} of {run_out.limit:,} {unit_label} are consumed"
            return f"{subject} {are} already used up: {figures}; {term_ends}."
        case "too_early":
            return (
                f"It is too early to say when {subject[0].lower()}{subject[1:]} {are} used up: there "
                f"{_windows(run_out.windows)}, too few for a forecast; {term_ends}."
            )
    return f"{subject} {are} {_used_up(run_out, now)}"


def no_forecast_sentence(subscription: SubscriptionState, now: datetime) -> str:
    """Say why a subscription is not forecast."""
    term = subscription.term_at(now)
    if subscription.model != "flex":
        reason = "The subscription is not a flex subscription"
    elif subscription.state == "cancelled":
        reason = "The subscription is cancelled"
    elif now < term.start:
        reason = f"The term begins {day(term.start, now)}"
    else:
        reason = f"The term ended {day(term.end, now)}"
    return f"{reason}, so there is no forecast."


def _used_up(run_out: RunOut, now: datetime) -> str:
    """Say the rest of the sentence of a forecast."""
    end, around = run_out.term_end, run_out.around
    if around is None or around >= end:
        return _lasts(run_out, now)
    term_ends = f"the term ends {day(end, now)}"
    if run_out.basis == "without_range":
        return (
            f"used up around {day(around, now)}; {term_ends}. There {_windows(run_out.windows)}, too few for a range."
        )
    earliest = day(run_out.earliest or around, now)
    if run_out.latest is not None and day(run_out.latest, now) == earliest:
        return f"used up around {earliest}; {term_ends}."
    if run_out.latest is None and run_out.reaches is not None and run_out.reaches < end:
        return f"used up around {day(around, now)}, not before {earliest} and perhaps after {_reach(run_out, now)}."
    if run_out.latest is None or run_out.latest >= end:
        return f"used up around {day(around, now)}, not before {earliest} and perhaps not before {term_ends}."
    return f"used up around {day(around, now)}, between {earliest} and {day(run_out.latest, now)}; {term_ends}."


def _lasts(run_out: RunOut, now: datetime) -> str:
    """Say that the units last, as far as the forecast reaches."""
    end, reaches, earliest = run_out.term_end, run_out.reaches, run_out.earliest
    term_ends = f"the term ends {day(end, now)}"
    if earliest is not None and earliest < end:
        return f"probably not used up before {term_ends}, at the earliest {day(earliest, now)}."
    if reaches is not None and reaches < end:
        return f"not used up before {_reach(run_out, now)}."
    return f"not used up before {term_ends}."


def _reach(run_out: RunOut, now: datetime) -> str:
    """Say how far the forecast reaches, and the term after it."""
    reaches = day(run_out.reaches or now, now)
    return f"{reaches}, which is as far as the forecast reaches; the term ends {day(run_out.term_end, now)}"


def _windows(count: int) -> str:
    return "is 1 closed window" if count == 1 else f"are {count} closed windows"


def day(at: datetime, now: datetime) -> str:
    """Write a date as ``14 March``, with its year unless that is the present one."""
    return f"{at.day} {at:%B}" if at.year == now.year else f"{at.day} {at:%B %Y}"
