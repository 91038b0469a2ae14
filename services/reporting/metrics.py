"""Reporting's own metrics. No label holds a customer, a subscription or a person."""

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

COMMAND_WAIT = Histogram(
    "unitpool_reporting_command_wait_seconds",
    "Seconds from a write request until its command's outcome is visible, or until its wait ends",
    ["command"],
    buckets=_FAST,
)
TOKENS_REFUSED = Counter("unitpool_reporting_tokens_refused_total", "Bearer tokens refused, by reason", ["reason"])
KEYS_FETCHED = Counter(
    "unitpool_reporting_issuer_keys_fetched_total", "Fetches of the issuer's keys, by outcome", ["outcome"]
)
STREAMS = Gauge("unitpool_reporting_live_streams", "Live streams open now")
