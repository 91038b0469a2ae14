"""The proposed plan of a subscription as it is now, or why there is none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.insights.needs import Present, candidates
from services.reporting.domain.insights.proposal import Allocations, Candidate, best_allocations, unmet
from services.reporting.domain.insights.sentences import day
from shared.consumption import USABLE_STATES


@dataclass(frozen=True, slots=True)
class ProposedChange:
    """A product's allocation before and after the plan."""

    product: str
    name: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan that allocation accepts for this version of the subscription.

    ``unmet_before``, ``unmet_after``: units that the products are expected to need ``until`` then beyond their
    allocations.
    """

    changes: tuple[ProposedChange, ...]
    for_version: int
    until: datetime
    unmet_before: int
    unmet_after: int
    sentence: str


@dataclass(frozen=True, slots=True)
class NoProposal:
    """Why no plan is proposed."""

    reason: str


def propose(present: Present) -> Proposal | NoProposal:
    """Propose the best plan for a subscription as it is now."""
    overview = present.overview
    if reason := _closed(present):
        return NoProposal(reason)
    for careful in (True, False) if overview.over_allocated else (True,):
        products = candidates(present, careful=careful)
        chosen = best_allocations(products, overview.purchased)
        if chosen is not None:
            return _proposal(present, products, chosen)
    needed = sum(one.floor for one in overview.products)
    return NoProposal(
        f"{overview.over_allocated:,} {overview.unit_label} more are allocated than purchased, but the products "
        f"consume {needed:,} of {overview.purchased:,}. Buy units, or unsubscribe from a product."
    )


def _closed(present: Present) -> str | None:
    """Say why allocations cannot be changed; ``None``: they can."""
    overview = present.overview
    if overview.model != "flex":
        return "The subscription is not a flex subscription: it has no pool to allocate from."
    if not present.flex_enabled:
        return "Flexible units are not enabled for this account. Ask the vendor to enable them."
    if overview.state not in USABLE_STATES:
        return f"Allocations cannot be changed while the subscription is {overview.state.replace('_', ' ')}."
    return None


def _proposal(present: Present, products: Sequence[Candidate], chosen: Allocations) -> Proposal | NoProposal:
    overview = present.overview
    changes = tuple(
        ProposedChange(one.product, one.name, one.allocated, chosen[one.product])
        for one in overview.products
        if chosen[one.product] != one.allocated
    )
    before = unmet(products, {one.product: one.allocated for one in products})
    if not changes:
        return NoProposal(_nothing_to_change(present, before))
    after = unmet(products, chosen)
    sentence = f"{_changes(changes, overview.unit_label)} {_effect(present, changes, before, after)}"
    return Proposal(changes, overview.version, present.until, before, after, sentence)


def _nothing_to_change(present: Present, before: int) -> str:
    until, label = day(present.until, present.now), present.overview.unit_label
    if not before:
        return f"No product is expected to need more than it is allocated until {until}."
    waiting = present.overview.rebalance.next_allowed_at
    lowered = f" Allocations may be lowered again from {day(waiting, present.now)}." if waiting else ""
    return (
        f"Until {until} the products are expected to need {before:,} {label} more than they are allocated, but none "
        f"are unallocated and no other product can spare any.{lowered} Buy more units to meet the need."
    )


def _changes(changes: Iterable[ProposedChange], unit_label: str) -> str:
    """Say what the plan changes: ``Raise Scan to 520, and lower Hub to 300 Units.``"""
    raised = [f"{one.name} to {one.after:,}" for one in changes if one.after > one.before]
    lowered = [f"{one.name} to {one.after:,}" for one in changes if one.after < one.before]
    parts = [f"{verb} {_list(some)}" for verb, some in (("raise", raised), ("lower", lowered)) if some]
    text = ", and ".join(parts)
    return f"{text[0].upper()}{text[1:]} {unit_label}."


def _effect(present: Present, changes: Sequence[ProposedChange], before: int, after: int) -> str:
    """Say what the plan is good for."""
    label, until = present.overview.unit_label, day(present.until, present.now)
    if excess := present.overview.over_allocated:
        cured = f"So the {excess:,} {label} that are allocated beyond the purchased ones are taken back"
        lost = f", and {after - before:,} that are expected to be needed until {until}" if after > before else ""
        return f"{cured}{lost}."
    taken = sum(one.before - one.after for one in changes if one.after < one.before)
    given = sum(one.after - one.before for one in changes if one.after > one.before)
    missing = f" To meet all of it, buy {after:,} more." if after else ""
    return (
        f"{_sources(given, taken, label)} What the products are expected to need until {until} beyond their "
        f"allocations falls from {before:,} to {after:,}.{missing}"
    )


def _sources(given: int, taken: int, label: str) -> str:
    """Say where the units come from."""
    if not taken:
        return f"It gives out {given:,} unallocated {label}."
    if taken == given:
        return f"It moves {given:,} {label} between products."
    return f"It gives out {given:,} {label}: {given - taken:,} that are unallocated, and {taken:,} taken back."


def _list(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
