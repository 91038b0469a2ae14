"""The view models of the templates: formatted text and geometry.

Lengths of bars are percent of their width.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar. ``kind`` is consumed, over, allocated or free."""

    kind: str
    start: str
    width: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its text alternative.

    ``end``: where the whole ends; ``clipped``: it is longer than shown.
    """

    label: str
    segments: tuple[Segment, ...]
    end: str
    ticks: tuple[str, ...] = ()
    clipped: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """A large number with its meaning in one line."""

    name: str
    value: str
    meaning: str
    kind: str
    alarming: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The page's head: subscription, state, term, and the summary sentence."""

    name: str
    account: str
    state: str
    state_kind: str
    term: str
    window: str
    sentence: str
    as_of: str
    as_of_iso: str


@dataclass(frozen=True, slots=True)
class MeterLine:
    """The arithmetic of one meter."""

    name: str
    arithmetic: str
    how: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProductRow:
    """The row of one product."""

    id: str
    name: str
    mark: str
    klass: str
    klass_word: str
    needs_attention: bool
    restricted: bool
    bar: Bar
    consumed: str
    allocated: str
    utilisation: str
    policy: str
    policy_meaning: str
    facts: tuple[tuple[str, str, str], ...]
    meters: tuple[MeterLine, ...]


@dataclass(frozen=True, slots=True)
class AlertCard:
    """An unresolved alert."""

    id: str
    severity: str
    severity_word: str
    title: str
    message: str
    value: str
    raised: str
    raised_iso: str
    actions: tuple[str, ...]
    acknowledged: str | None


@dataclass(frozen=True, slots=True)
class PlanField:
    """A product's field in the plan editor.

    The numbers are for the inputs and the script.
    """

    product: str
    name: str
    mark: str
    current: int
    value: str
    lowest: int
    highest: int
    hint: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """Before and after of one product in a preview."""

    name: str
    before: str
    after: str
    difference: str
    rises: bool
    utilisation: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The result that a plan would have."""

    changes: tuple[Change, ...]
    unallocated_before: str
    unallocated_after: str
    consequence: str
    previewed: str
    command_id: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan editor.

    ``error`` is about the form, ``sum_error`` about the running sum. The script parses numbers by ``grammar``, up to
    ``most``.
    """

    status: str
    rule: str
    open: bool
    editable: bool
    fields: tuple[PlanField, ...]
    purchased: int
    total: int
    free: int
    version: int
    unit_label: str
    grammar: str
    most: int
    preview: Preview | None = None
    error: str | None = None
    sum_error: str | None = None
    offer_overage: bool = False
    accept_overage: bool = False
    applied: str | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    """The whole page of one subscription."""

    id: str
    head: Head
    pool: Bar
    figures: tuple[Figure, ...]
    products: tuple[ProductRow, ...]
    alerts: tuple[AlertCard, ...]
    plan: Plan
    may_acknowledge: bool
    others: tuple[tuple[str, str], ...] = field(default=())
