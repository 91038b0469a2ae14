"""Metering's projection of allocation.events: rebuilds, and unreadable states."""

import random
from datetime import UTC, datetime

from services.metering.domain.subscription import Subscription, read_subscription
from services.metering.handlers.project import confirm_erasure
from services.metering.store import projection
from services.metering.store.projection import Projection
from shared.events.allocation import ErasureChanged
from shared.events.erasure import ErasureState
from shared.events.state import ProductState, SubscriptionState
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from tests.conftest import MakeDatabase
from tests.support.builders.metering import PRODUCTS, SUBSCRIPTIONS, subscription
from tests.support.builders.people import person_id, written
from tests.support.drivers.runtime import event
from tests.support.servers.databases import connect


async def test_other_states_are_saved_when_one_cannot_be_read(connection: Connection) -> None:
    known = Projection()
    await known.refresh(connection)
    newer = [subscription(name, ("scan",), version=9, allocated=300) for name in ("sub-1", "sub-2")]
    async with connection.transaction():
        await projection.save(connection, newer, [])
        await connection.execute("UPDATE subscription SET state = '{}' WHERE id = 'sub-1'")
    await known.refresh(connection)
    allocated = {name: view.state.products[0].allocated for name, view in known.catalogue.subscriptions.items()}
    assert allocated == {"sub-1": 100, "sub-2": 300, "sub-3": 100}, "its former state still applies"


async def test_the_projection_rebuilt_from_its_topic_equals_the_live_one(database: MakeDatabase) -> None:
    newer = subscription("sub-1", ("scan", "web"), version=3)
    in_order = [*SUBSCRIPTIONS, newer, subscription("sub-1", ("scan",), version=2)]
    states: list[tuple[dict[str, Subscription], dict[str, ProductState], dict[str, str]]] = []
    for several in (in_order, random.Random(3).sample(in_order, len(in_order))):
        async with connect(await database("metering")) as own:
            for one in several:
                async with own.transaction():
                    await projection.save(own, [one], PRODUCTS)
            known = Projection()
            await known.refresh(own)
            views = known.catalogue.subscriptions
            products = known.catalogue.products
            states.append(
                (
                    {name: view.state for name, view in views.items()},
                    {name: one.state for name, one in products.items()},
                    {row["id"]: row["state"] for row in await own.fetch("SELECT id, state FROM subscription")},
                )
            )
    assert states[0] == states[1]
    assert states[0][0]["sub-1"] == read_subscription(newer.model_dump_json())
    assert SubscriptionState.model_validate_json(states[0][2]["sub-1"]) == newer


async def test_an_erasure_is_confirmed_when_it_was_carried_out(connection: Connection) -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    vera = "vera@vendor.example"
    asked = ErasureState(
        person=person_id("alan@acme.example"),
        requested_by=person_id(vera),
        reason=written("asked for it", vera),
        requested_at=now,
        due_at=now,
        version=1,
    )
    tx = Transaction(connection, now, service="metering")
    await confirm_erasure(tx, event(ErasureChanged(erasure=asked)))
    assert tx.pending == []
    done = asked.model_copy(update={"erased_at": now, "version": 2})
    await confirm_erasure(tx, event(ErasureChanged(erasure=done)))
    (confirmed,) = tx.pending
    assert b'"service":"metering"' in (confirmed.value or b"")
