"""Driver of a running alerts service: publishes its inputs, reads its events."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

from services.alerts.domain.measures import window_of
from shared.events.alerts import ALERTS_EVENTS, AlertState, shown_address
from shared.events.allocation import ProductChanged, SubscriptionCreated
from shared.events.commands.alerts import AddChannel
from shared.events.envelope import Event, Payload, by_type, decode
from shared.events.metering import ConsumptionSnapshot, MeterConsumption
from shared.events.outcomes import AlertsCommandDecided
from shared.events.state import ProductState, SubscriptionState
from shared.events.topics import (
    ALERTS_COMMANDS_TOPIC,
    ALERTS_EVENTS_TOPIC,
    ALLOCATION_EVENTS_TOPIC,
    CONSUMPTION_TOPIC,
)
from shared.runtime.signing import seal
from tests.support.builders.alerts import ACME, SCAN, subscription
from tests.support.builders.people import person_id
from tests.support.drivers.processes import ServiceProcess
from tests.support.drivers.runtime import KEYS, Bench, event, until
from tests.support.servers.webhook_receiver import SECRET

P = TypeVar("P", bound=Payload)
PAULA = "paula@acme.example"


def acme(version: int = 1, **changes: Any) -> SubscriptionState:
    """Build the subscription of the unit tests, with a term that began five days ago."""
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)
    term = {"start": start, "end": start + timedelta(days=365)}
    lots = [{"id": "lot-1", "units": 10_000, **term, "order_reference": "PO-1", "purchased_at": start}]
    return subscription(version, term=term, **{"lots": lots, **changes})


@dataclass
class AlertsDriver:
    """One running service and its topics."""

    bench: Bench
    service: ServiceProcess
    env: dict[str, str]

    async def publish_state(self, state: SubscriptionState) -> None:
        """Publish a product and a subscription, as allocation does."""
        rate = {"version": 1, "units": 1, "block": 1, "effective_from": state.term.start}
        meter = {"meter": "host", "name": "Hosts", "aggregation": "unique", "reset": "window", "rates": [rate]}
        product = ProductState.model_validate(
            {"id": SCAN, "name": "Exposure Scan", "sources": [], "meters": [meter], "version": 1}
        )
        await self._publish(ProductChanged(product=product, change="created"))
        await self._publish(SubscriptionCreated(subscription=state), state.id)

    async def publish_consumption(self, state: SubscriptionState, *consumed: int, first_revision: int = 1) -> None:
        """Publish Exposure Scan's consumption, one revision each, as metering does."""
        window = window_of(state, datetime.now(UTC))
        for revision, units in enumerate(consumed, start=first_revision):
            meter = MeterConsumption(
                meter="host",
                aggregation="unique",
                reset="window",
                aggregate=units,
                units=1,
                block=1,
                rate_version=1,
                consumed=units,
            )
            snapshot = ConsumptionSnapshot(
                subscription=state.id,
                product=SCAN,
                window_start=window.start,
                window_end=window.end,
                revision=revision,
                consumed=units,
                meters=(meter,),
                as_of=datetime.now(UTC),
            )
            await self.bench.send(CONSUMPTION_TOPIC, event(snapshot).encode(), key=snapshot.key.encode())

    async def send_command(self, command: Payload, actor: str = PAULA, **attributes: Any) -> AlertsCommandDecided:
        """Send a command; return its outcome."""
        request = event(command, id=str(uuid4()), actor=person_id(actor), **attributes)
        await self.bench.send_command(ALERTS_COMMANDS_TOPIC, request, key=request.data.subscription)

        async def outcome() -> AlertsCommandDecided | None:
            decided = await self.published(AlertsCommandDecided)
            return next((one for one in decided if str(one.command_id) == request.id), None)

        found: AlertsCommandDecided = await until(outcome, what="the outcome")
        return found

    async def add_channel(self, url: str) -> AlertsCommandDecided:
        """Add a webhook channel, as Paula."""
        return await self.send_command(
            AddChannel(
                subscription=ACME,
                channel=str(uuid4()),
                kind="webhook",
                url=shown_address(url) if url.startswith("http") else url,
                sealed_secret=seal(SECRET, KEYS),
                sealed_url=seal(url, KEYS),
                seen=1,
            )
        )

    async def published(self, kind: type[P]) -> list[P]:
        """Return all events of one kind that alerts has published."""
        payloads = by_type(ALERTS_EVENTS)
        events: list[Event[Any] | None] = [
            decode(record.value, payloads) for record in await self.bench.records(ALERTS_EVENTS_TOPIC)
        ]
        return [one.data for one in events if one is not None and isinstance(one.data, kind)]

    async def wait_for_alerts(self, kind: type[Any], count: int) -> list[AlertState]:
        """Wait for ``count`` events of one kind; return their alerts."""

        async def enough() -> list[AlertState]:
            found = await self.published(kind)
            return [one.alert for one in found] if len(found) >= count else []

        alerts: list[AlertState] = await until(enough, what=f"{count} x {kind.__name__}")
        return alerts

    async def _publish(self, payload: Payload, key: str = ACME) -> None:
        await self.bench.send(ALLOCATION_EVENTS_TOPIC, event(payload).encode(), key=key.encode())
