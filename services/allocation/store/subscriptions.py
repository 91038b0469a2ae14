"""Subscriptions: one row each, locked by whoever changes it; with their lots, allocations and grants."""

from collections.abc import Sequence

from services.allocation.domain.subscriptions import Subscription
from shared.events.ids import SubscriptionId
from shared.events.state import (
    GrantedTo,
    Lot,
    Person,
    RebalanceClock,
    SubscribedProduct,
    SubscriptionState,
    Term,
)
from shared.runtime.postgres import Connection, Row

_INSERT = """
INSERT INTO subscriptions (
    id, account, name, model, unit_label, term_start, term_end, window_days, primary_email, primary_name,
    rebalance_every_days, rebalance_scope, version
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT DO NOTHING RETURNING id
"""
_LOCK = """
SELECT
    s.id, s.account, s.name, s.model, s.unit_label, s.term_start, s.term_end, s.window_days,
    s.primary_email, s.primary_name, s.rebalance_every_days, s.rebalance_scope, s.rebalanced_at,
    s.cancelled_at, s.version, a.flex_enabled
FROM subscriptions AS s
JOIN accounts AS a ON a.id = s.account
WHERE s.id = $1
FOR NO KEY UPDATE OF s
"""
_UPDATE = "UPDATE subscriptions SET rebalanced_at = $2, version = $3 WHERE id = $1"
_LOAD_GRANTS = "SELECT email, role FROM grants WHERE subscription = $1 ORDER BY email, role"
_LOAD_LOTS = """
SELECT id, units, starts_at, ends_at, order_reference, purchased_at, voided_at
FROM lots WHERE subscription = $1 ORDER BY place
"""
_LOAD_ALLOCATIONS = """
SELECT
    a.product, a.units, a.policy, a.restricted, a.subscribed_at, a.last_lowered_at,
    p.retired_at IS NOT NULL AS retired
FROM allocations AS a
JOIN products AS p ON p.id = a.product
WHERE a.subscription = $1
ORDER BY a.place
"""


async def insert_subscription(connection: Connection, subscription: Subscription) -> bool:
    """Keep a new subscription, without lots and products; false where there is one with this id."""
    state = subscription.state
    inserted = await connection.fetchval(
        _INSERT,
        state.id,
        state.account,
        state.name,
        state.model,
        state.unit_label,
        state.term.start,
        state.term.end,
        state.window_days,
        state.primary_contact.email,
        state.primary_contact.name,
        state.rebalance.every_days,
        state.rebalance.scope,
        state.version,
    )
    return inserted is not None


async def lock_subscription(connection: Connection, subscription: SubscriptionId) -> Subscription | None:
    """The subscription, whole, for this transaction alone to change.

    The parts are read after the lock is had, by statements of their own, so that they are those of the newest version.
    """
    row = await connection.fetchrow(_LOCK, subscription)
    if row is None:
        return None
    grants = await connection.fetch(_LOAD_GRANTS, subscription)
    lots = await connection.fetch(_LOAD_LOTS, subscription)
    allocations = await connection.fetch(_LOAD_ALLOCATIONS, subscription)
    return Subscription(
        state=_state(row, grants, lots, allocations),
        flex_enabled=row["flex_enabled"],
        retired=frozenset(one["product"] for one in allocations if one["retired"]),
        cancelled_at=row["cancelled_at"],
    )


async def update_subscription(connection: Connection, subscription: Subscription) -> None:
    """Write what may change of the row itself: its version and its rebalance clock."""
    state = subscription.state
    await connection.execute(_UPDATE, state.id, state.rebalance.last_at, state.version)


def _state(row: Row, grants: Sequence[Row], lots: Sequence[Row], allocations: Sequence[Row]) -> SubscriptionState:
    return SubscriptionState(
        id=row["id"],
        account=row["account"],
        name=row["name"],
        model=row["model"],
        state="pending",  # what it is follows from the time: see Subscription.at
        unit_label=row["unit_label"],
        term=Term(start=row["term_start"], end=row["term_end"]),
        window_days=row["window_days"],
        primary_contact=Person(email=row["primary_email"], name=row["primary_name"]),
        grants=tuple(GrantedTo(email=one["email"], grant=one["role"]) for one in grants),
        lots=tuple(_lot(one) for one in lots),
        products=tuple(_product(one) for one in allocations),
        rebalance=RebalanceClock(
            every_days=row["rebalance_every_days"], scope=row["rebalance_scope"], last_at=row["rebalanced_at"]
        ),
        version=row["version"],
    )


def _lot(row: Row) -> Lot:
    return Lot(
        id=row["id"],
        units=row["units"],
        start=row["starts_at"],
        end=row["ends_at"],
        order_reference=row["order_reference"],
        purchased_at=row["purchased_at"],
        voided_at=row["voided_at"],
    )


def _product(row: Row) -> SubscribedProduct:
    return SubscribedProduct(
        product=row["product"],
        allocated=row["units"],
        policy=row["policy"],
        restricted=row["restricted"],
        subscribed_at=row["subscribed_at"],
        last_lowered_at=row["last_lowered_at"],
    )
