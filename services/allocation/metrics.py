"""What Prometheus is told by allocation. No label holds a customer, a subscription or a person."""

from prometheus_client import Counter, Gauge

DUE_WORK = Counter(
    "unitpool_due_work_total",
    "Looks at a subscription that were due: settled, or failed (tried again within a minute)",
    ["outcome"],
)
DUE_WORK_OVERDUE_SECONDS = Gauge(
    "unitpool_due_work_overdue_seconds", "For how long the look that has waited longest has been due"
)
DUE_WORK_LEFT_OUT = Gauge(
    "unitpool_due_work_left_out", "Subscriptions that this process could not look at, and tries again by itself"
)

for _outcome in ("settled", "failed"):  # Prometheus does not see the rise of a series that begins at 1
    DUE_WORK.labels(outcome=_outcome)
