"""The metrics of metering.

No label holds a customer, a subscription, a source or a resource.
"""

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from shared.events.metering import RestatementCause
from shared.events.quarantine import QuarantineReason, SettledAs

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2.5, 5, 10, 30)

USAGE_EVENTS = Counter("unitpool_usage_events_total", "Usage records, by outcome", ["outcome"])
USAGE_QUARANTINED = Counter("unitpool_usage_quarantined_total", "Usage records put into quarantine", ["reason"])
USAGE_BATCH_SECONDS = Histogram(
    "unitpool_usage_batch_seconds", "Seconds to apply one batch of usage, until its commit", buckets=_SECONDS
)
USAGE_BATCH_RECORDS = Histogram(
    "unitpool_usage_batch_records", "Records in one batch of usage", buckets=(1, 10, 100, 1000, 5000, 10000, 20000)
)
USAGE_REPLAYED = Counter(
    "unitpool_usage_replayed_total",
    "Quarantined usage records applied or found to be duplicates, by outcome",
    ["outcome"],
)
PUBLISH_TO_CONSUMPTION_SECONDS = Histogram(
    "unitpool_publish_to_consumption_seconds",
    "Seconds from the append time of usage to the acknowledgement of the snapshot that counts it",
    buckets=_SECONDS,
)
SNAPSHOTS = Counter("unitpool_consumption_snapshots_total", "Consumption snapshots that Kafka acknowledged")
SNAPSHOTS_DUE = Gauge("unitpool_consumption_snapshots_due", "Batches of changes whose snapshots are not published yet")
SNAPSHOTS_FAILING = Gauge(
    "unitpool_consumption_snapshots_failing_subscriptions",
    "Subscriptions whose snapshots could not be made in the last round",
)
DAYS_PUBLISHED = Counter("unitpool_usage_days_total", "Usage days of a meter that Kafka acknowledged")
DAYS_DUE = Gauge("unitpool_usage_days_due", "Batches of changes whose usage by day is not published yet")
INGEST_REFUSED = Counter("unitpool_ingest_refused_total", "Events that POST /v1/usage refused, by code", ["code"])
PARTITIONS = Gauge("unitpool_usage_partitions", "Partitions of each partitioned table", ["table"])
CORRECTIONS = Counter("unitpool_usage_corrections_total", "Reversals and purges, by outcome", ["kind", "outcome"])
RESTATEMENTS = Counter("unitpool_usage_restatements_total", "Final windows that were restated, by cause", ["cause"])
UPKEEP_AT = Gauge("unitpool_upkeep_last_run_timestamp_seconds", "Unix time of the last upkeep of this process")
DELETED = Counter(
    "unitpool_upkeep_forgotten_rows_total", "Rows deleted by upkeep after their retention time, by table", ["table"]
)

OUTCOMES = ("applied", "duplicate", "quarantined")
INGEST_CODES = ("malformed", "unsupported_type", "missing_resource", "invalid_quantity", "source_not_allowed")
DELETED_FROM = ("meter_window", "restatement", "correction", "quarantine")


def initialise() -> None:
    """Create every known label value at 0.

    Prometheus does not see the rise of a series that begins at 1.
    """
    for outcome in OUTCOMES:
        USAGE_EVENTS.labels(outcome=outcome)
        for kind in ("reversal", "purge"):
            CORRECTIONS.labels(kind=kind, outcome=outcome)
    for reason in get_args(QuarantineReason):
        USAGE_QUARANTINED.labels(reason=reason)
    for settled_as in get_args(SettledAs):
        USAGE_REPLAYED.labels(outcome=settled_as)
    for code in INGEST_CODES:
        INGEST_REFUSED.labels(code=code)
    for cause in get_args(RestatementCause):
        RESTATEMENTS.labels(cause=cause)
    for table in DELETED_FROM:
        DELETED.labels(table=table)
