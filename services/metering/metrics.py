"""Metering's metrics. No label holds a customer, a subscription, a source or a resource."""

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from shared.events.metering import RestatementCause
from shared.events.quarantine import QuarantineReason, SettledAs

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2.5, 5, 10, 30)

USAGE_EVENTS = Counter("unitpool_usage_events_total", "Usage records by what became of them", ["outcome"])
USAGE_QUARANTINED = Counter("unitpool_usage_quarantined_total", "Usage records put into quarantine", ["reason"])
USAGE_BATCH_SECONDS = Histogram("unitpool_usage_batch_seconds", "Time to apply one batch of usage", buckets=_SECONDS)
USAGE_BATCH_RECORDS = Histogram(
    "unitpool_usage_batch_records", "Records in one batch of usage", buckets=(1, 10, 100, 1000, 5000, 10000, 20000)
)
USAGE_REPLAYED = Counter("unitpool_usage_replayed_total", "Quarantined usage that left the quarantine", ["outcome"])
PUBLISH_TO_CONSUMPTION_SECONDS = Histogram(
    "unitpool_publish_to_consumption_seconds",
    "From the append time of usage to the acknowledged snapshot that counts it",
    buckets=_SECONDS,
)
SNAPSHOTS = Counter("unitpool_consumption_snapshots_total", "Snapshots that Kafka acknowledged")
SNAPSHOTS_DUE = Gauge("unitpool_consumption_snapshots_due", "Batches whose snapshots are not published yet")
SNAPSHOTS_FAILING = Gauge(
    "unitpool_consumption_snapshots_failing_subscriptions", "Subscriptions whose snapshots could not be made just now"
)
INGEST_REFUSED = Counter("unitpool_ingest_refused_total", "Events that the HTTP door refused", ["code"])
PARTITIONS = Gauge("unitpool_usage_partitions", "Partitions of each partitioned table", ["table"])
CORRECTIONS = Counter(
    "unitpool_usage_corrections_total", "Reversals and purges by what became of them", ["kind", "outcome"]
)
RESTATEMENTS = Counter("unitpool_usage_restatements_total", "Final windows that were restated, by cause", ["cause"])
UPKEEP_AT = Gauge("unitpool_upkeep_last_run_timestamp_seconds", "When this process last did the upkeep")
FORGOTTEN = Counter("unitpool_upkeep_forgotten_rows_total", "Rows that were too old, deleted by upkeep", ["table"])

OUTCOMES = ("applied", "duplicate", "quarantined")
DOOR_CODES = ("malformed", "unsupported_type", "missing_resource", "invalid_quantity", "source_not_allowed")
FORGOTTEN_FROM = ("meter_window", "restatement", "correction", "quarantine")


def begin() -> None:
    """Have every known label value stand at 0: Prometheus does not see the rise of a series that begins at 1."""
    for outcome in OUTCOMES:
        USAGE_EVENTS.labels(outcome=outcome)
        for kind in ("reversal", "purge"):
            CORRECTIONS.labels(kind=kind, outcome=outcome)
    for reason in get_args(QuarantineReason):
        USAGE_QUARANTINED.labels(reason=reason)
    for settled_as in get_args(SettledAs):
        USAGE_REPLAYED.labels(outcome=settled_as)
    for code in DOOR_CODES:
        INGEST_REFUSED.labels(code=code)
    for cause in get_args(RestatementCause):
        RESTATEMENTS.labels(cause=cause)
    for table in FORGOTTEN_FROM:
        FORGOTTEN.labels(table=table)
