"""Allocation's Prometheus metrics.

No label holds a customer, a subscription or a person.
"""

from prometheus_client import Counter, Gauge

DUE_WORK = Counter(
    "unitpool_due_work_total",
    "Subscriptions whose due changes were processed, by outcome: settled, or failed (retried within a minute)",
    ["outcome"],
)
DUE_WORK_OVERDUE_SECONDS = Gauge(
    "unitpool_due_work_overdue_seconds",
    "Seconds since the oldest due change became due; 0 while none is",
)
DUE_WORK_LEFT_OUT = Gauge(
    "unitpool_due_work_left_out", "Subscriptions whose due changes failed in this process and wait for a retry"
)

for _outcome in ("settled", "failed"):  # Prometheus does not see the rise of a series that begins at 1
    DUE_WORK.labels(outcome=_outcome)
