"""The page's head and pool: the summary sentence, the five figures, the bar."""

from datetime import datetime

from services.reporting.domain.overview import Overview, ProductOverview
from services.reporting.pages import wording
from services.reporting.pages.bars import pool_bar
from services.reporting.pages.view import Bar, Figure, Head

_STATES = {
    "pending": ("Not started", "quiet"),
    "active": ("Active", "good"),
    "exhausted": ("Exhausted", "bad"),
    "grace": ("Grace period", "warn"),
    "read_only": ("Read only", "warn"),
    "expired": ("Expired", "bad"),
    "cancelled": ("Cancelled", "bad"),
}
_LEADS = {
    "pending": "The term has not begun yet",
    "exhausted": "The units of this term are used up",
    "grace": "The term is over; you have a period of grace to renew",
    "read_only": "The subscription is read-only; its data stays visible, but nothing can be changed",
    "expired": "The subscription has expired",
    "cancelled": "The subscription was cancelled",
}
_ATTENTION = frozenset({"over", "near"})


def needs_attention(product: ProductOverview) -> bool:
    """Whether a product is above or close to its allocation, or restricted."""
    return product.utilisation_class in _ATTENTION or product.restricted


def present_head(overview: Overview, now: datetime) -> Head:
    """Present name, state, term, and the summary sentence."""
    word, kind = _STATES.get(overview.state, (overview.state, "quiet"))
    at = overview.as_of or now
    return Head(
        name=overview.name,
        account=overview.account,
        state=word,
        state_kind=kind,
        term=_term(overview),
        window=f"{wording.days(overview.window.days_left)} left in this window",
        sentence=sentence(overview),
        as_of=wording.minute(at, now),
        as_of_iso=at.isoformat(),
    )


def _term(overview: Overview) -> str:
    """Return when the term ends, or that the subscription is renewed."""
    if renewal := overview.renewal:
        return f"Renewed from {wording.day(renewal.start)} to {wording.day(renewal.end)}"
    end, left = wording.day(overview.term.end), overview.term.days_left
    return f"Ends {end}, {wording.days(left)} left" if left else f"Ended {end}"


def sentence(overview: Overview) -> str:
    """Summarise the subscription in one sentence."""
    label, listed = overview.unit_label, overview.products
    lead = _LEADS.get(overview.state)
    if lead:
        return f"{lead}."
    if not overview.purchased:
        return f"No {wording.units(0, label).removeprefix('0 ')} have been purchased yet."
    if over := overview.over_allocated:
        return f"{wording.units(over, label)} more are allocated than purchased; lower some allocations."
    if not listed:
        return f"No product yet: {wording.units(overview.unallocated, label)} are waiting to be allocated."
    free = overview.unallocated
    rest = (
        f"{wording.units(free, label)} {'is' if free == 1 else 'are'} still free to allocate"
        if free
        else ("everything purchased is allocated")
    )
    troubled = sum(1 for product in listed if needs_attention(product))
    if not troubled:
        all_fine = f"All {len(listed)} products are" if len(listed) > 1 else "The one product is"
        return f"{all_fine} within {'their allocations' if len(listed) > 1 else 'its allocation'}; {rest}."
    verb = "needs" if troubled == 1 else "need"
    return f"{troubled} of {wording.products(len(listed))} {verb} attention; {rest}."


def present_pool(overview: Overview) -> tuple[Bar, tuple[Figure, ...]]:
    """Present the pool's bar and five figures."""
    purchased, allocated, consumed = overview.purchased, overview.allocated, overview.consumed
    unallocated, unused, over = overview.unallocated, overview.unused, overview.over_allocated
    figures = (
        Figure("Purchased", wording.count(purchased), "Bought, and valid today", "purchased"),
        Figure("Allocated", wording.count(allocated), "Allocated to products", "allocated", over > 0),
        Figure("Consumed", wording.count(consumed), "Used by products", "consumed", consumed > purchased),
        Figure("Unused", wording.count(unused), "Allocated, not consumed", "unused", unused < 0),
        Figure("Over-allocated", wording.count(over), "Allocated beyond what was bought", "overhang", alarming=True)
        if over
        else Figure("Unallocated", wording.count(unallocated), "Free to allocate", "free"),
    )
    spoken = (
        f"{wording.count(consumed)} consumed, {wording.count(allocated)} allocated, of {wording.count(purchased)} "
        f"purchased{f'; over-allocated by {wording.count(over)}' if over else ''}"
    )
    return pool_bar(purchased, allocated, consumed, spoken), figures
