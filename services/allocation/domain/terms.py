"""Terms that follow each other: renewal, and rates that are locked for a term."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from services.allocation.domain import refusals
from services.allocation.domain.lots import sell
from services.allocation.domain.subscriptions import Subscription
from services.allocation.domain.time_limits import errors_of
from shared.events.commands.subscriptions import RenewSubscription
from shared.events.envelope import rfc3339
from shared.events.ids import LotId
from shared.events.refusals import Refusal
from shared.events.state import Lot, PriceList, Term

MAX_TERMS: Final = 100


def renew(
    subscription: Subscription, command: RenewSubscription, now: datetime, price_list: PriceList | None = None
) -> tuple[Subscription, Term, Lot | None] | Refusal:
    """Add a term to the subscription, with its lot if it has a pool.

    It begins at the end of the last one, or at a later start that is given, which may lie in the past.
    """
    if refusal := _renew_refusal(subscription, command, now):
        return refusal
    state = subscription.state
    last = state.all_terms[-1]
    term = Term(
        start=last.end if command.start is None else command.start,
        end=command.end,
        rates_locked_at=now if command.lock_rates else None,
    )
    if errors := _errors(subscription, term, now) + _field_errors(command, is_flex=state.model == "flex"):
        return Refusal.invalid(*errors)
    lot = _lot(command, term, now)
    sold = sell(state, lot, term, price_list) if lot else None
    if isinstance(sold, Refusal):
        return sold
    lots = (*state.lots, sold) if sold else state.lots
    before = replace(subscription, exhausted=subscription.exhausted and term.start > now)  # the old pool was
    return before.changed(now, terms=(*state.all_terms, term), lots=lots), term, sold


def _renew_refusal(subscription: Subscription, command: RenewSubscription, now: datetime) -> Refusal | None:
    if refusal := subscription.refusal_for("renew-subscription", now):
        return refusal
    state = subscription.state
    if state.model == "flex" and not subscription.flex_enabled:
        return refusals.feature_not_enabled(state.account)
    last = state.all_terms[-1]
    if last is not state.term_at(now):
        return Refusal.already_exists("renewal", rfc3339(last.start))
    if any(lot.id == command.lot for lot in state.lots):
        return Refusal.already_exists("lot", str(command.lot))
    return None


def _lot(command: RenewSubscription, term: Term, now: datetime) -> Lot | None:
    if command.units is None or command.lot is None or command.order_reference is None:
        return None
    return Lot(
        id=LotId(command.lot),
        units=command.units,
        start=term.start,
        end=term.end,
        order_reference=command.order_reference,
        purchased_at=now,
    )


def lock_rates(subscription: Subscription, *, locked: bool, now: datetime) -> Subscription | Refusal:
    """Lock the rates in force until the term's end.

    Returns the same value if that changes nothing. A lock lasts for the whole term, as ending it earlier would restate
    closed windows.
    """
    if refusal := subscription.refusal_for("lock-rates", now):
        return refusal
    term = subscription.state.term_at(now)
    if locked == (term.rates_locked_at is not None):
        return subscription
    if not locked:
        return Refusal.invalid(("locked", f"the rates are locked until the term's end, {rfc3339(term.end)}"))
    changed = term.model_copy(update={"rates_locked_at": now})
    terms = tuple(changed if one is term else one for one in subscription.state.all_terms)
    return subscription.changed(now, terms=terms)


def _errors(subscription: Subscription, term: Term, now: datetime) -> list[tuple[str, str]]:
    errors = errors_of(start=term.start, end=term.end)
    last = subscription.state.all_terms[-1]
    if term.start < last.end:
        errors.append(("start", f"must not be before the end of the last term, {rfc3339(last.end)}"))
    if term.end <= now:
        errors.append(("end", "must not be in the past"))
    elif term.end <= term.start:
        errors.append(("end", f"must be later than the new term's start, {rfc3339(term.start)}"))
    if len(subscription.state.all_terms) >= MAX_TERMS:
        errors.append(("end", f"a subscription has at most {MAX_TERMS} terms"))
    return errors


def _field_errors(command: RenewSubscription, *, is_flex: bool) -> list[tuple[str, str]]:
    """Return what is wrong with the fields of the new term's pool.

    A flex subscription needs a pool for the new term, and others cannot have one.
    """
    given = {"units": command.units, "order_reference": command.order_reference, "lot": command.lot}
    message = "is needed: the new term has a pool of its own" if is_flex else "does not belong to per-product licensing"
    return [(field, message) for field, value in given.items() if (value is None) == is_flex]
