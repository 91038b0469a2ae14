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
EXPORTS = Counter(
    "unitpool_exports_total", "Exports that ended, by report, format and outcome", ["report", "format", "outcome"]
)
EXPORT_SECONDS = Histogram(
    "unitpool_export_seconds",
    "Seconds from the first attempt at an export until its file can be downloaded",
    ["format"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600),
)
EXPORT_ROWS = Counter("unitpool_export_rows_total", "Rows of exports, counted when their part is saved")
EXPORTS_WAITING = Gauge("unitpool_exports_waiting", "Exports that wait for a worker now")
