"""Application of changes of subscriptions and consumption.

Changes are assessed in order; alerts and deliveries are saved, and events are published.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from services.alerts import metrics
from services.alerts.domain.headroom import update_within
from services.alerts.domain.measures import Reading, Readings
from services.alerts.domain.watch import Assessment, Watch, assess, follow
from services.alerts.store.alerts import upsert_alerts
from services.alerts.store.catalogue import load_names
from services.alerts.store.channels import load_channels_in_use
from services.alerts.store.deliveries import NewDelivery, insert_deliveries
from services.alerts.store.watches import (
    load_watches,
    lock_due,
    lock_reading_states,
    lock_watches,
    save_readings,
    save_watches,
)
from shared.events.alerts import AlertRaised, AlertResolved, AlertState
from shared.events.envelope import Event
from shared.events.ids import SubscriptionId
from shared.events.state import SubscriptionState
from shared.events.topics import ALERTS_EVENTS_TOPIC
from shared.runtime.delivery.isolation import isolate
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.process import logging
from shared.runtime.records import Record

_log = logging.get("assessments")
_DELIVERIES = UUID("b0c7e0de-62a5-5c0f-8f2d-6a3d0d1c9a55")


@dataclass(frozen=True, slots=True)
class Change:
    """A new state or reading of a subscription.

    ``cause`` decodes its event; it is called only to publish alerts.
    """

    subscription: SubscriptionId
    news: SubscriptionState | Reading
    cause: Callable[[], Event[Any]]


class ReadingRecord(NamedTuple):
    """A reading, and the record that it was decoded from."""

    subscription: SubscriptionId
    reading: Reading
    record: Record


async def apply_changes(tx: Transaction, changes: Sequence[Change]) -> None:
    """Apply changes, and assess after each of them.

    So no crossing between two changes is missed.
    """
    await _apply(tx, await lock_watches(tx.connection, [change.subscription for change in changes]), changes)


async def apply_readings(
    tx: Transaction, records: Sequence[ReadingRecord], cause_of: Callable[[Record], Event[Any]]
) -> None:
    """Save readings, and assess subscriptions with one outside the headroom.

    Those are assessed after each of their readings, as in ``apply_changes``.
    """
    news: defaultdict[SubscriptionId, list[Reading]] = defaultdict(list)
    for one in records:
        news[one.subscription].append(one.reading)
    states = await lock_reading_states(tx.connection, news)
    within: dict[SubscriptionId, Readings] = {}
    outside = {}
    for id, readings in news.items():  # noqa: A001
        state = states[id]
        taken = update_within(state.headroom, state.readings, readings, tx.now)
        if taken is None:
            outside[id] = state
        elif taken is not state.readings:
            within[id] = taken
    if within:
        await save_readings(tx.connection, within)
    if outside:
        changes = [
            Change(one.subscription, one.reading, partial(cause_of, one.record))
            for one in records
            if one.subscription in outside
        ]
        await _apply(tx, await load_watches(tx.connection, outside), changes)


async def _apply(tx: Transaction, before: Mapping[SubscriptionId, Watch], changes: Sequence[Change]) -> None:
    names = await load_names(tx.connection)
    after = dict(before)
    assessments: list[Assessment] = []
    for change in changes:
        assessment = follow(after[change.subscription], change.news, tx.now, names)
        after[change.subscription] = assessment.watch
        if assessment.raised or assessment.resolved:
            assessments.append(assessment)
            tx.cause = change.cause()
            await _publish(tx, assessment)
    tx.cause = None
    await _write_alerts(tx, assessments)
    await save_watches(tx.connection, before, after.values(), tx.now)


async def apply_time(tx: Transaction, limit: int, aside: SetAside) -> int:
    """Assess at most ``limit`` subscriptions that time alone has changed.

    A window, lot or term began or ended. Return how many were due. Those whose assessment fails are set aside; those
    that failed before are assessed one by one.
    """
    known = await aside.load(tx.connection, tx.now)
    due = await lock_due(tx.connection, tx.now, limit, known.waiting)
    suspects = [id for id in due if id in known.due]  # noqa: A001
    for some in ([id for id in due if id not in known.due], *([id] for id in suspects)):  # noqa: A001
        for failed in await isolate(tx, some, str, partial(_assess_due, tx)):
            await aside.add(tx, failed.whose, failed.whose, failed.error)
            suspects = [id for id in suspects if id != failed.whose]  # noqa: A001
    if suspects:
        await aside.clear(tx.connection, suspects)
    return len(due)


async def _assess_due(tx: Transaction, due: Sequence[SubscriptionId]) -> None:
    before = await lock_watches(tx.connection, due)
    names = await load_names(tx.connection)
    assessments = [assess(watch, tx.now, names) for watch in before.values()]
    for assessment in assessments:
        await _publish(tx, assessment)
    await _write_alerts(tx, assessments)
    await save_watches(tx.connection, before, [assessment.watch for assessment in assessments], tx.now)


async def _publish(tx: Transaction, assessment: Assessment) -> None:
    for alert in assessment.resolved:
        await tx.emit(ALERTS_EVENTS_TOPIC, alert.subscription, AlertResolved(alert=alert), subject=alert.id)
    for alert in assessment.raised:
        event = await tx.emit(ALERTS_EVENTS_TOPIC, alert.subscription, AlertRaised(alert=alert), subject=alert.id)
        tx.after_commit(partial(_log_raised, alert, event.correlationid))


def _log_raised(alert: AlertState, correlation_id: str | None) -> None:
    _log.info(
        "alert_raised",
        alert=alert.id,
        rule=alert.rule,
        severity=alert.severity,
        subscription=alert.subscription,
        correlation_id=correlation_id,
    )


async def _write_alerts(tx: Transaction, assessments: Sequence[Assessment]) -> None:
    raised = [alert for assessment in assessments for alert in assessment.raised]
    resolved = [alert for assessment in assessments for alert in assessment.resolved]
    if raised or resolved:
        await upsert_alerts(tx.connection, [*raised, *resolved])
    if raised:
        await _write_deliveries(tx, raised)
        tx.after_commit(lambda: _count(raised))


async def _write_deliveries(tx: Transaction, raised: Sequence[AlertState]) -> None:
    channels = await load_channels_in_use(tx.connection, sorted({alert.subscription for alert in raised}))
    deliveries = [
        NewDelivery(id=str(uuid5(_DELIVERIES, f"{alert.id}|{channel.id}")), alert=alert.id, channel=channel.id)
        for alert in raised
        for channel in channels
        if channel.subscription == alert.subscription
    ]
    if deliveries:
        await insert_deliveries(tx.connection, deliveries, tx.now)


def _count(raised: Sequence[AlertState]) -> None:
    for alert in raised:
        metrics.ALERTS.labels(rule=alert.rule, severity=alert.severity).inc()
