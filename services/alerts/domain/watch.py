"""A watched subscription, and its assessment after a change.

It has a state, readings, levels and alerts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import cast
from uuid import UUID, uuid5

from services.alerts.domain.crossing import Level, Step, step
from services.alerts.domain.headroom import Headroom, headroom_of, update_within
from services.alerts.domain.measures import (
    Measure,
    Moment,
    Reading,
    Readings,
    measure,
    next_change_at,
    retain_needed,
    window_of,
)
from services.alerts.domain.rules import DEFAULT_RULES, RuleName, Threshold
from services.alerts.domain.sentences import actions, message
from shared.events.alerts import AlertState
from shared.events.ids import ProductId, SubscriptionId
from shared.events.state import SubscriptionState
from shared.units import percent_tenths
from shared.windows import Window

LevelKey = tuple[RuleName, ProductId | None]
Names = Mapping[ProductId, str]

_ALERTS = UUID("3f0a4f0e-7f0b-5d55-9c6e-0b8b1d0f7c1a")


@dataclass(frozen=True, slots=True)
class Watch:
    """What alerts stores of a subscription.

    ``subscription`` is ``None`` until its first event arrives; ``window_start`` is that of the window last assessed;
    ``next_check_at`` is when time alone requires an assessment; ``headroom`` was computed by the last assessment;
    ``alerts`` are the open ones.
    """

    id: SubscriptionId
    subscription: SubscriptionState | None = None
    window_start: datetime | None = None
    next_check_at: datetime | None = None
    readings: Readings = field(default_factory=dict)
    headroom: Headroom | None = None
    levels: Mapping[LevelKey, Level] = field(default_factory=dict)
    alerts: tuple[AlertState, ...] = ()


@dataclass(frozen=True, slots=True)
class Assessment:
    """A watch after an assessment, with the alerts raised and resolved by it."""

    watch: Watch
    raised: tuple[AlertState, ...] = ()
    resolved: tuple[AlertState, ...] = ()


def update_state(watch: Watch, state: SubscriptionState) -> Watch:
    """Set a subscription's state, unless the known one is newer.

    An equal version is set too, for a rebuild.
    """
    known = watch.subscription
    return watch if known is not None and known.version > state.version else replace(watch, subscription=state)


def update_reading(watch: Watch, reading: Reading) -> Watch:
    """Add a reading, unless the known one is as new or newer.

    The known reading is that of the same product and window; revisions are compared.
    """
    key = (reading.product, reading.window_start)
    known = watch.readings.get(key)
    if known is not None and known.revision >= reading.revision:
        return watch
    return replace(watch, readings={**watch.readings, key: reading})


def follow(watch: Watch, news: SubscriptionState | Reading, now: datetime, names: Names) -> Assessment:
    """Apply a change, and assess the subscription where necessary.

    It is not assessed if the change is not newer, or is a reading within the headroom.
    """
    if isinstance(news, Reading):
        within = update_within(watch.headroom, watch.readings, [news], now)
        if within is not None:
            return Assessment(watch if within is watch.readings else replace(watch, readings=within))
    taken = update_reading(watch, news) if isinstance(news, Reading) else update_state(watch, news)
    return Assessment(watch) if taken is watch else assess(taken, now, names)


def assess(watch: Watch, now: datetime, names: Names) -> Assessment:
    """Compare every share with its thresholds.

    The assessment is idempotent: without a change, a second one raises nothing.
    """
    subscription = watch.subscription
    if subscription is None:
        return Assessment(watch)
    moment = Moment(subscription, _window(watch, subscription, now), now)
    is_new_window = watch.window_start is not None and moment.window.start > watch.window_start
    shares = measure(moment, watch.readings)
    steps = {(share.rule, share.product): (share, _step(watch, share, is_new_window)) for share in shares}
    raised = tuple(
        _raise(share, taken, taken.crossed, moment, names.get(share.product, share.product) if share.product else None)
        for share, taken in steps.values()
        if taken.crossed is not None and not _is_more_than_allocated(share)
    )
    over = [a for a in watch.alerts if _key_of(a) not in steps or a.threshold > steps[_key_of(a)][1].over_above]
    resolved = tuple(_advance(alert, state="resolved") for alert in over)
    remaining = tuple(alert for alert in watch.alerts if alert not in over)
    next_check_at = next_change_at(subscription, now)
    assessed = replace(
        watch,
        window_start=moment.window.start,
        next_check_at=next_check_at,
        readings=retain_needed(watch.readings, moment.window.start),
        headroom=headroom_of(
            moment.window.start,
            next_check_at or moment.window.end,
            [(share, taken.level) for share, taken in steps.values()],
        ),
        levels=_merge_levels(watch, {key: taken.level for key, (_, taken) in steps.items()}),
        alerts=(*remaining, *raised),
    )
    return Assessment(assessed, raised, resolved)


def acknowledge(alert: AlertState, by: str, now: datetime) -> AlertState | None:
    """Return the alert as acknowledged.

    ``None`` is returned if it is acknowledged or resolved already.
    """
    if alert.state != "active":
        return None
    return _advance(alert, state="acknowledged", acknowledged_by=by, acknowledged_at=now)


def _step(watch: Watch, share: Measure, is_new_window: bool) -> Step:
    level = watch.levels.get((share.rule, share.product), Level())
    if (level.part, level.whole) == (share.part, share.whole) and not is_new_window:
        return Step(level, crossed=None, over_above=level.passed)
    thresholds = DEFAULT_RULES[share.rule].thresholds
    return step(level, share.part, share.whole, thresholds, opening=share.opening if is_new_window else None)


def _is_more_than_allocated(share: Measure) -> bool:
    """Whether the share is of a pool that is over-allocated.

    Then only the rule for over-allocation, which is more severe, raises an alert.
    """
    return share.rule == "pool_allocation" and share.part > share.whole


def _window(watch: Watch, subscription: SubscriptionState, now: datetime) -> Window:
    """Return the window at ``now``, but none before the last assessed one.

    The clock of another replica may be ahead.
    """
    return window_of(subscription, now if watch.window_start is None else max(now, watch.window_start))


def _merge_levels(watch: Watch, levels: Mapping[LevelKey, Level]) -> Mapping[LevelKey, Level]:
    """Return the new levels, and the counts of alerts of shares no longer measured.

    Ids of alerts are made with that count, so it must never restart.
    """
    gone = {key: Level(raised=level.raised) for key, level in watch.levels.items() if key not in levels}
    return {**gone, **levels}


def _raise(share: Measure, taken: Step, threshold: Threshold, moment: Moment, name: str | None) -> AlertState:
    subscription, window = moment.subscription, moment.window
    tenths = percent_tenths(share.part, share.whole)
    identity = f"{subscription.id}|{share.rule}|{share.product or ''}|{taken.level.raised}"
    return AlertState(
        id=str(uuid5(_ALERTS, identity)),
        subscription=subscription.id,
        account=subscription.account,
        rule=share.rule,
        scope=DEFAULT_RULES[share.rule].scope,
        product=share.product,
        severity=threshold.severity,
        threshold=threshold.percent,
        value_at=Decimal(threshold.percent * 10 if tenths is None else tenths).scaleb(-1),
        part=share.part,
        limit=share.whole,
        window_start=window.start,
        window_end=window.end,
        raised_at=moment.now,
        state="active",
        message=message(share, threshold, name, moment),
        actions=actions(share, name, moment),
        version=1,
    )


def _advance(alert: AlertState, **changes: object) -> AlertState:
    return alert.model_copy(update={**changes, "version": alert.version + 1})


def _key_of(alert: AlertState) -> LevelKey:
    """Return the level that an alert belongs to.

    Nothing is measured for a removed rule, so its alert is resolved.
    """
    return cast("RuleName", alert.rule), alert.product
