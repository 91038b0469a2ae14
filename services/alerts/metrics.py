"""The metrics of alerts.

No label holds a customer, a subscription, a person or an address.
"""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

ALERTS = Counter("unitpool_alerts_total", "Alerts raised", ["rule", "severity"])
DELIVERIES = Counter(
    "unitpool_deliveries_total",
    "Attempts to deliver an alert: delivered, failed (will be retried), dead (given up)",
    ["channel", "outcome"],
)
DELIVERY_SECONDS = Histogram(
    "unitpool_delivery_seconds",
    "Seconds from an alert's commit until the receiver accepted it",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 28800, 86400, 259200),
)
DELIVERIES_PENDING = Gauge(
    "unitpool_deliveries_pending", "Deliveries that are neither delivered nor dead, up to 100,000"
)

OUTCOMES = ("delivered", "failed", "dead")
CHANNELS = ("webhook",)


def initialise(rules: Iterable[tuple[str, str]]) -> None:
    """Create every known label value at 0.

    Prometheus does not see the rise of a series that begins at 1. ``rules`` gives rule and severity of every possible
    alert.
    """
    for rule, severity in rules:
        ALERTS.labels(rule=rule, severity=severity)
    for channel in CHANNELS:
        for outcome in OUTCOMES:
            DELIVERIES.labels(channel=channel, outcome=outcome)
