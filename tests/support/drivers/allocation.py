"""Driver of allocation without Kafka, at a time set by the test.

Commands go through the real inbox and handlers.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg

from services.allocation.domain.subscriptions import Terms
from services.allocation.handlers.commands import command_handlers
from services.allocation.handlers.due_work import settle_if_due
from services.allocation.store.due_work import find_next_due
from services.allocation.subscribers import on_consumption
from shared import people
from shared.events.allocation import ALLOCATION_EVENTS, PEOPLE_EVENTS
from shared.events.commands.accounts import CreateAccount, SetFlex
from shared.events.commands.catalogue import CreateMeter, CreateProduct
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.commands.subscriptions import CreateSubscription, PurchaseLot, SubscribeProduct
from shared.events.envelope import Event, Payload, by_type, decode
from shared.events.ids import PersonId
from shared.events.metering import ConsumptionSnapshot, MeterConsumption
from shared.events.outcomes import AllocationCommandDecided, AuditRecord, DecisionRecorded
from shared.events.refusals import Refusal
from shared.events.state import Person, SubscriptionState
from shared.events.topics import ALLOCATION_COMMANDS_TOPIC, ALLOCATION_EVENTS_TOPIC, ALLOCATION_PEOPLE_TOPIC, AUDIT
from shared.runtime.commands import postponed
from shared.runtime.commands.inbox import Inbox
from shared.runtime.delivery.batch_runner import transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Outgoing, Record
from shared.runtime.signing import SIGNATURE_HEADER, parse_keys, sign
from shared.windows import window_at
from tests.support.builders.people import person_id
from tests.support.drivers.processes import COMMAND_KEYS

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = parse_keys(COMMAND_KEYS)
VENDOR, PRIMARY, STRANGER = "vera@vendor.example", "paula@acme.example", "sam@globex.example"
_PAYLOADS = by_type([*ALLOCATION_EVENTS, *PEOPLE_EVENTS, DecisionRecorded])
_PERSON = """
SELECT id FROM people
WHERE email = $1 AND account IN (SELECT account FROM subscriptions WHERE id = $2 UNION SELECT $2)
"""
_STATES = (ALLOCATION_EVENTS_TOPIC.name, ALLOCATION_PEOPLE_TOPIC.name)


@dataclass(frozen=True)
class ByAddress:
    """A command about a person, whom the test names by address and the command by id."""

    kind: type[Payload]
    email: str
    fields: dict[str, Any]


def by_address(kind: type[Payload], *, email: str, **fields: Any) -> ByAddress:
    """Make a command about the person with this address.

    The driver finds their id, as reporting does.
    """
    return ByAddress(kind, email, fields)


def command(payload: Payload, actor: str, *, vendor: bool = False, id: str | None = None) -> Event[Any]:
    """Create a command as reporting sends it.

    ``vendor``: whether ``actor`` is an operator of the vendor.
    """
    wrapped: Event[Any] = Event[type(payload)].of(  # type: ignore[misc]
        payload,
        id=id or str(uuid4()),
        source="/reporting",
        time=START,
        actor=actor,
        actorvendor=vendor,
        actoraddress="192.0.2.1",
    )
    return wrapped


async def identify(connection: Connection, requested: Event[Any]) -> Event[Any]:
    """Return a command with its actor's id in the account that it concerns.

    Reporting sends it so. Who is nobody there has the id of a person without an account.
    """
    data, email = requested.data, people.fold(requested.actor or "")
    whose = getattr(data, "account", None) or getattr(data, "subscription", None) or ""
    person = await connection.fetchval(_PERSON, email, whose)
    return requested.model_copy(update={"actor": person or person_id(email)})


def record(requested: Event[Any], key: str = "k") -> Record:
    """The command as a signed Kafka record."""
    value = requested.encode()
    headers = ((SIGNATURE_HEADER, sign(value, KEYS, ALLOCATION_COMMANDS_TOPIC.name)),)
    return Record(ALLOCATION_COMMANDS_TOPIC.name, 0, 0, key.encode(), value, headers, START)


@dataclass
class Decision:
    """The decision of one command: its outcome, its events, and its audit records."""

    outcome: AllocationCommandDecided
    events: list[Any]
    audit: list[AuditRecord]

    @property
    def refusal(self) -> Refusal:
        """Why it was refused."""
        assert self.outcome.refusal is not None, self.outcome
        return self.outcome.refusal

    @property
    def code(self) -> str:
        """The refusal's code, or ``accepted``."""
        return self.outcome.refusal.code if self.outcome.refusal else "accepted"

    @property
    def subscription(self) -> SubscriptionState:
        """The state that the last event carries."""
        state: SubscriptionState = self.events[-1].subscription
        return state


def decision_in(sent: Sequence[Outgoing]) -> Decision:
    """Decode the published records of one decision."""
    decoded = [(one.topic, decode(one.value, _PAYLOADS)) for one in sent if one.value is not None]
    events = [event.data for topic, event in decoded if event and topic in _STATES]
    audit = [event.data.record for topic, event in decoded if event and topic == AUDIT.name]
    return Decision(events[-1], events[:-1], audit)


@dataclass
class AllocationDriver:
    """Driver of allocation's handlers on a database; the test sets ``now``."""

    pool: "asyncpg.Pool[asyncpg.Record]"
    now: datetime = START
    terms: Terms = field(default_factory=Terms)
    wait_seconds: float = 0.2
    erase_after: timedelta = timedelta(0)

    def inbox(self) -> Inbox:
        """Allocation's inbox with its handlers."""
        handlers = command_handlers(self.terms, wait_seconds=self.wait_seconds, erase_after=self.erase_after)
        return Inbox(
            handlers,
            decided=AllocationCommandDecided,
            events_topic=ALLOCATION_EVENTS_TOPIC,
            keys=KEYS,
        )

    async def ask(
        self, payload: Payload | ByAddress, actor: str = PRIMARY, *, vendor: bool = False, id: str | None = None
    ) -> Decision:
        """Create a command and decide it."""
        return await self.decide(command(await self.resolved(payload), actor, vendor=vendor, id=id))

    async def resolved(self, payload: Payload | ByAddress) -> Payload:
        """Return the command with the id of the person whom it names by address."""
        if not isinstance(payload, ByAddress):
            return payload
        person = await self.id_of(payload.email, payload.fields.get("account") or payload.fields["subscription"])
        return payload.kind.model_validate({**payload.fields, "person": person})

    async def id_of(self, email: str, whose: str) -> PersonId | None:
        """Find who has this address in an account, or in that of a subscription."""
        person: PersonId | None = await self.pool.fetchval(_PERSON, people.fold(email), whose)
        return person

    async def address_of(self, person: str) -> str:
        """Return a person's address."""
        return str(await self.pool.fetchval("SELECT email FROM people WHERE id = $1", person))

    async def identified(self, requested: Event[Any]) -> Event[Any]:
        """Return a command with its actor's id in the account that it concerns.

        One that the test has set is kept.
        """
        if "@" not in (requested.actor or ""):
            return requested
        async with self.pool.acquire() as connection:
            return await identify(connection, requested)

    async def decide(self, requested: Event[Any], key: str = "k") -> Decision:
        """Decide a command; fail if it is postponed."""
        decision = await self.submit(requested, key)
        assert decision is not None, "the command was postponed"
        return decision

    async def postpone(self, requested: Event[Any], key: str = "k") -> None:
        """Submit a command; fail if it is not postponed."""
        assert await self.submit(requested, key) is None

    async def submit(self, requested: Event[Any], key: str = "k") -> Decision | None:
        """Submit a command; return its decision, or None if it is postponed."""
        requested = await self.identified(requested)
        async with transaction(self.pool, lambda: self.now, "allocation") as tx:
            await self.inbox()(tx, [record(requested, key)])
            sent = list(tx.pending)
        return decision_in(sent) if sent else None

    async def decide_batch(self, requested: Sequence[Event[Any]]) -> list[Decision]:
        """Submit commands on several subscriptions in one transaction.

        Returns the decisions of those that are not postponed.
        """
        requested = [await self.identified(one) for one in requested]
        async with transaction(self.pool, lambda: self.now, "allocation") as tx:
            await self.inbox()(tx, [record(one, one.data.subscription) for one in requested])
            sent = list(tx.pending)
        decisions, first = [], 0
        for last, one in enumerate(sent):
            if b'"command_id"' in (one.value or b""):
                decisions.append(decision_in(sent[first : last + 1]))
                first = last + 1
        return decisions

    async def retry_postponed(self) -> list[Decision]:
        """Retry the postponed commands once; return the decisions."""
        async with self.pool.acquire() as connection:
            waiting = await postponed.find_first(connection, ALLOCATION_COMMANDS_TOPIC.name)
        decisions = []
        for one in waiting:
            async with transaction(self.pool, lambda: self.now, "allocation") as tx:
                taken = await postponed.lock(tx.connection, one)
                if taken and await self.inbox().retry(tx, taken):
                    await postponed.delete(tx.connection, taken)
                    decisions.append(decision_in(list(tx.pending)))
        return decisions

    async def drain(self) -> list[Decision]:
        """Retry postponed commands until there are none; return the decisions."""
        decisions: list[Decision] = []
        while await self.pool.fetchval("SELECT count(*) FROM postponed_commands"):
            decisions += await self.retry_postponed()
        return decisions

    async def decide_concurrently(self, requested: Sequence[Event[Any]]) -> list[Decision]:
        """Submit commands at the same time; retry postponed ones; return all decisions."""
        async with asyncio.timeout(120):
            decisions = await asyncio.gather(*(self.submit(one) for one in requested))
            return [one for one in decisions if one] + await self.drain()

    async def settle_due(self) -> list[Any]:
        """Bring all due subscriptions up to date; return the events."""
        events: list[Any] = []
        async with self.pool.acquire() as connection:
            due = await find_next_due(connection, self.now, 1000)
        for subscription in due:
            async with transaction(self.pool, lambda: self.now, "allocation") as tx:
                await settle_if_due(tx, subscription)
                sent = list(tx.pending)
            decoded = [decode(one.value or b"", _PAYLOADS) for one in sent if one.topic == ALLOCATION_EVENTS_TOPIC.name]
            events += [event.data for event in decoded if event]
        return events

    async def sell(self, payload: Payload | ByAddress) -> Decision:
        """Decide a command of the vendor; fail if it is refused."""
        decision = await self.ask(payload, VENDOR, vendor=True)
        assert decision.code == "accepted", decision.outcome
        return decision

    async def measure(self, *snapshots: ConsumptionSnapshot) -> None:
        """Apply snapshots of metering."""
        values = [
            Event[ConsumptionSnapshot].of(one, id=str(uuid4()), source="/metering", time=self.now).encode()
            for one in snapshots
        ]
        records = [Record("metering.consumption", 0, n, None, value, (), self.now) for n, value in enumerate(values)]
        async with transaction(self.pool, lambda: self.now, "allocation") as tx:
            await on_consumption(tx, records)

    async def open(
        self,
        *,
        subscription: str = "acme-flex",
        units: int = 1000,
        products: Sequence[str] = ("scan", "hub"),
        days: int = 365,
        model: Any = "flex",
        account: str | None = None,
        contact: str = PRIMARY,
    ) -> str:
        """Create an account with a subscription, a lot and products; return the id.

        The id is the subscription's.

        With ``account`` the subscription is added to that one; existing products are left unchanged.
        """
        if account is None:
            account = f"{subscription}-account"
            await self.sell(CreateAccount(account=account, name="Acme"))
        await self.sell(SetFlex(account=account, enabled=True, reason="asked for it"))
        await self.sell(
            CreateSubscription(
                subscription=subscription,
                account=account,
                name="Acme Flex",
                model=model,
                start=START,
                end=START + timedelta(days=days),
                primary_contact=Person(email=contact, name=contact.partition("@")[0].title()),
            )
        )
        for product in products:
            await self.ask(CreateProduct(product=product, name=product.title()), VENDOR, vendor=True)
            meter = CreateMeter(product=product, meter="host", name="Hosts", aggregation="unique", units=1, block=1)
            await self.ask(meter, VENDOR, vendor=True)
        if model == "flex":
            if units:
                await self.sell(
                    PurchaseLot(subscription=subscription, lot="lot-1", units=units, order_reference="PO-1")
                )
            for product in products:
                await self.sell(SubscribeProduct(subscription=subscription, product=product))
        return subscription

    async def plan(
        self, subscription: str = "acme-flex", /, *, by: str = PRIMARY, vendor: bool = False, **plan: Any
    ) -> Decision:
        """Decide a plan: units by product, and the plan's options as keywords."""
        options = {name: plan.pop(name) for name in list(plan) if name in ApplyPlan.model_fields}
        changes = tuple(PlannedChange(product=name.replace("_", "-"), units=units) for name, units in plan.items())
        requested = ApplyPlan(subscription=subscription, changes=options.pop("changes", changes), **options)
        return await self.ask(requested, by, vendor=vendor)

    async def allocated(self, subscription: str = "acme-flex") -> dict[str, int]:
        """Allocated units of each product, from the tables."""
        rows = await self.pool.fetch(
            "SELECT product, units FROM allocations WHERE subscription = $1 ORDER BY place", subscription
        )
        return {row["product"]: row["units"] for row in rows}


def snapshot(
    product: str,
    level: int,
    *,
    revision: int = 1,
    at: datetime = START,
    burned_down: int = 0,
    subscription: str = "acme-flex",
) -> ConsumptionSnapshot:
    """A snapshot of the window that contains ``at``."""
    window = window_at(START, at)
    meters = [
        MeterConsumption(
            meter=meter,
            aggregation=aggregation,
            reset=reset,
            aggregate=units,
            units=1,
            block=1,
            rate_version=1,
            consumed=units,
        )
        for meter, aggregation, reset, units in (
            ("host", "unique", "window", level),
            ("call", "sum", "term", burned_down),
        )
    ]
    return ConsumptionSnapshot(
        subscription=subscription,
        product=product,
        window_start=window.start,
        window_end=window.end,
        revision=revision,
        consumed=level + burned_down,
        meters=tuple(meters),
        as_of=at,
    )
