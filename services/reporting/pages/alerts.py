"""Active alerts, newest first."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from services.reporting.domain.alerts import CurrentAlert
from services.reporting.pages import wording
from services.reporting.pages.view import AlertCard

_SEVERITIES = {"info": "Info", "warning": "Warning", "high": "High", "critical": "Critical", "breach": "Breach"}


def present_alerts(alerts: Iterable[CurrentAlert], names: Mapping[str, str], now: datetime) -> tuple[AlertCard, ...]:
    """Present unresolved alerts, acknowledged ones last.

    ``names``: the products', by id.
    """
    active = [alert for alert in alerts if alert.state != "resolved"]
    active.sort(key=lambda alert: (alert.state == "acknowledged", -alert.raised_at.timestamp()))
    return tuple(_card(alert, names, now) for alert in active)


def _card(alert: CurrentAlert, names: Mapping[str, str], now: datetime) -> AlertCard:
    product = alert.product
    raised = alert.raised_at
    then, current = alert.value_at, alert.value_now
    value = f"{wording.percent(then)} when raised"
    if current is not None and current != then:
        value += f", {wording.percent(current)} now"
    return AlertCard(
        id=alert.id,
        severity=alert.severity,
        severity_word=_SEVERITIES.get(alert.severity, alert.severity),
        title=f"{names.get(product, product) if product else 'The pool'} reached {alert.threshold}\u202f%",
        message=alert.message,
        value=value,
        raised=wording.minute(raised, now),
        raised_iso=raised.isoformat(),
        actions=alert.actions,
        acknowledged=alert.acknowledged_by if alert.state == "acknowledged" else None,
    )
