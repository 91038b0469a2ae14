"""Subscriptions with their lots, allocations and grants.

Every change locks the subscription's row first.
"""

from collections.abc import Sequence
from typing import Any

from services.allocation.domain.subscriptions import Subscription
from services.allocation.store.allocations import columns, product_of, save_earlier
from services.allocation.store.consumption import measured_of
from services.allocation.store.lots import lot_of, upsert_lot
from services.allocation.store.subscription_sql import LOAD_PARTS, LOCK, SAVE, TRY_LOCK
from services.allocation.store.terms import term_of, upsert_term
from shared.events.ids import SubscriptionId
from shared.events.state import GrantedTo, RebalanceClock, SubscriptionState
from shared.runtime.postgres.pool import Connection, Row

_INSERT = """
INSERT INTO subscriptions (
    id, account, name, model, unit_label, window_days, primary_contact,
    rebalance_every_days, rebalance_scope, version, settled_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT DO NOTHING RETURNING id
"""
_EXISTS = "SELECT EXISTS (SELECT FROM subscriptions WHERE id = $1)"
_UPDATE = """
UPDATE subscriptions
SET model = $2, rebalanced_at = $3, cancelled_at = $4, settled_at = $5, exhausted = $6, version = $7
WHERE id = $1
"""

Change = tuple[Subscription, Subscription]
"""A subscription before and after."""


async def insert_subscription(connection: Connection, subscription: Subscription) -> bool:
    """Insert a subscription without lots and products.

    Returns false if the id is used already.
    """
    state = subscription.state
    inserted = await connection.fetchval(
        _INSERT,
        state.id,
        state.account,
        state.name,
        state.model,
        state.unit_label,
        state.window_days,
        state.primary_contact,
        state.rebalance.every_days,
        state.rebalance.scope,
        state.version,
        subscription.settled_at,
    )
    if inserted is None:
        return False
    for term in state.all_terms:
        await upsert_term(connection, state.id, term)
    return True


async def lock_subscription(connection: Connection, subscription: SubscriptionId) -> Subscription | None:
    """Lock a subscription for update, and load it with its parts.

    Its state is as last published. Returns ``None`` if the subscription is unknown.
    """
    row = await connection.fetchrow(LOCK, [subscription])
    return await _load(connection, row) if row else None


async def try_lock_subscription(connection: Connection, subscription: SubscriptionId) -> Subscription | None:
    """Lock and load a subscription like ``lock_subscription``, without a wait.

    Returns ``None`` also if another transaction has locked it.
    """
    return (await try_lock_subscriptions(connection, [subscription])).get(subscription)


async def try_lock_subscriptions(
    connection: Connection, subscriptions: Sequence[SubscriptionId]
) -> dict[SubscriptionId, Subscription]:
    """Lock and load these subscriptions; return them by id.

    Those that another transaction has locked are left out.
    """
    rows = await connection.fetch(TRY_LOCK, subscriptions)
    return {row["id"]: await _load(connection, row) for row in rows}


async def is_subscription(connection: Connection, subscription: SubscriptionId) -> bool:
    """Whether the subscription exists."""
    return bool(await connection.fetchval(_EXISTS, subscription))


async def _load(connection: Connection, row: Row) -> Subscription:
    parts = row if row["is_newest"] else await connection.fetchrow(LOAD_PARTS, row["id"])
    assert parts is not None  # noqa: S101 - the row is locked, and nothing removes a subscription
    terms = tuple(term_of(one) for one in parts["terms"])
    state = SubscriptionState(
        id=row["id"],
        account=row["account"],
        name=row["name"],
        model=row["model"],
        state="pending",  # what it is follows from the time: see Subscription.at
        unit_label=row["unit_label"],
        term=terms[0],
        terms=terms,
        window_days=row["window_days"],
        primary_contact=row["primary_contact"],
        grants=tuple(GrantedTo(person=person, grant=grant) for person, grant in parts["grants"]),
        lots=tuple(lot_of(one) for one in parts["lots"]),
        products=tuple(product_of(one) for one in parts["allocations"]),
        rebalance=_clock(row),
        cancelled_at=row["cancelled_at"],
        version=row["version"],
    )
    return Subscription(
        state=state,
        flex_enabled=row["flex_enabled"],
        settled_at=row["settled_at"],
        retired=frozenset(product for product, *_, retired in parts["allocations"] if retired),
        cancelled_at=row["cancelled_at"],
        exhausted=row["exhausted"],
        measured=tuple(measured_of(one) for one in parts["consumption"]),
        due_at=parts["due_at"],
        marks=parts["marks"],
    ).at(row["settled_at"])


async def update_subscription(connection: Connection, subscription: Subscription) -> None:
    """Update the columns of the row that may change."""
    await connection.execute(_UPDATE, subscription.state.id, *_columns(subscription))


async def save_subscription(connection: Connection, before: Subscription, after: Subscription) -> None:
    """Save the row and the changed terms, lots and products.

    People and grants are saved elsewhere.
    """
    was, state = before.state, after.state
    if state.products != was.products:
        await connection.execute(SAVE, *saved_columns([(before, after)]))
        had = {one.product: one.earlier for one in was.products}
        for product in state.products:
            if product.earlier != had.get(product.product, ()):
                await save_earlier(connection, state.id, product)
    else:
        await update_subscription(connection, after)
    for term in state.all_terms:
        if term not in was.all_terms:
            await upsert_term(connection, state.id, term)
    for place, lot in enumerate(state.lots):
        if lot not in was.lots:
            await upsert_lot(connection, state.id, place, lot)


def saved_columns(changes: Sequence[Change]) -> tuple[list[Any], ...]:
    """Return the parameters of ``SAVE`` for these subscriptions, each at most once."""
    changed = []
    for before, after in changes:
        had = {id(one) for one in before.state.products}  # cheaper than comparing; equals may be written again
        places = enumerate(after.state.products)
        changed += [(after.state.id, place, one) for place, one in places if id(one) not in had]
    rows = zip(*((after.state.id, *_columns(after)) for _, after in changes), strict=True)
    return (*columns(changed), *map(list, rows))


def _columns(subscription: Subscription) -> tuple[Any, ...]:
    """Return the columns of the row that may change."""
    state = subscription.state
    return (
        state.model,
        state.rebalance.last_at,
        subscription.cancelled_at,
        subscription.settled_at,
        subscription.exhausted,
        state.version,
    )


def _clock(row: Row) -> RebalanceClock:
    return RebalanceClock(
        every_days=row["rebalance_every_days"], scope=row["rebalance_scope"], last_at=row["rebalanced_at"]
    )
