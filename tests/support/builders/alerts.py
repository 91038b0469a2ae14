"""A subscription and a driver of its watch, for tests of the rules of alerting."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.alerts.domain.measures import Reading
from services.alerts.domain.watch import Assessment, Watch, assess, update_reading, update_state
from shared.events.ids import ProductId, SubscriptionId
from shared.events.state import SubscriptionState
from tests.support.builders.people import person_id

START = datetime(2026, 11, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
WINDOW = timedelta(days=15)
SCAN, GUARD = ProductId("exposure-scan"), ProductId("api-guard")
NAMES = {SCAN: "Exposure Scan", GUARD: "API Guard"}
ACME = SubscriptionId("acme-flex")


def subscription(version: int = 1, *, purchased: int = 10_000, scan: int = 1000, **changes: Any) -> SubscriptionState:
    """Build ``acme-flex`` with ``purchased`` units.

    ``scan`` of them are allocated to Exposure Scan, 500 to API Guard.
    """
    lot = {"id": "lot-1", "units": purchased, "start": START, "end": START + timedelta(days=365)}
    state: dict[str, Any] = {
        "id": ACME,
        "account": "acme",
        "name": "Acme Flex",
        "model": "flex",
        "state": "active",
        "term": {"start": START, "end": START + timedelta(days=365)},
        "window_days": 15,
        "primary_contact": person_id("paula@acme.example"),
        "grants": [
            {"person": person_id("alan@acme.example"), "grant": "allocator"},
            {"person": person_id("victor@acme.example"), "grant": "viewer"},
        ],
        "lots": [{**lot, "order_reference": "PO-1", "purchased_at": START}] if purchased else [],
        "products": [
            {"product": SCAN, "allocated": scan, "subscribed_at": START},
            {"product": GUARD, "allocated": 500, "subscribed_at": START},
        ],
        "rebalance": {"every_days": 90, "next_allowed_at": datetime(2027, 3, 14, tzinfo=UTC)},
        "version": version,
    }
    return SubscriptionState.model_validate({**state, **changes})


class WatchDriver:
    """One watch, with methods that apply changes and assess it."""

    def __init__(self, state: SubscriptionState | None = None) -> None:
        self.watch = Watch(ACME)
        self._revision = 0
        if state is not None:
            self.apply_state(state)

    def apply_state(self, state: SubscriptionState, now: datetime = NOW) -> Assessment:
        """Apply a new state."""
        return self._assess(update_state(self.watch, state), now)

    def consume(
        self, consumed: int, product: ProductId = SCAN, *, burned_down: int = 0, now: datetime = NOW, revision: int = 0
    ) -> Assessment:
        """Apply a reading of the window at ``now``."""
        self._revision += 1
        start = START + (now - START) // WINDOW * WINDOW
        reading = Reading(product, start, revision or self._revision, consumed, burned_down)
        return self._assess(update_reading(self.watch, reading), now)

    def assess_at(self, now: datetime) -> Assessment:
        """Assess at ``now`` without a change."""
        return self._assess(self.watch, now)

    def _assess(self, watch: Watch, now: datetime) -> Assessment:
        assessment = assess(watch, now, NAMES)
        self.watch = assessment.watch
        return assessment


def raised_rules(assessment: Assessment) -> list[tuple[str, int]]:
    """Return rule and threshold of the raised alerts."""
    return [(alert.rule, alert.threshold) for alert in assessment.raised]


def resolved_rules(assessment: Assessment) -> list[tuple[str, int]]:
    """Return rule and threshold of the resolved alerts."""
    return [(alert.rule, alert.threshold) for alert in assessment.resolved]
