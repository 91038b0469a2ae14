"""The runtime's own metrics, on the process-wide registry.

No label holds a customer, a person or a resource.
"""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

CONSUMER_LAG_RECORDS = Gauge(
    "unitpool_consumer_lag_records",
    "Records of the partitions assigned to this process that are not applied yet",
    ["topic"],
)
CONSUMER_LAG_SECONDS = Gauge(
    "unitpool_consumer_lag_seconds", "Seconds since the oldest record that is not applied yet was appended", ["topic"]
)
CONSUMER_HALTED = Gauge(
    "unitpool_consumer_halted", "1 while a consumer has halted and needs an operator, else 0", ["topic"]
)
PARTITION_LAG_RECORDS = Gauge(
    "unitpool_consumer_partition_lag_records", "Records of one partition not applied yet", ["topic", "partition"]
)
PARTITION_POSITION = Gauge(
    "unitpool_consumer_partition_position", "The next offset of one partition to be applied", ["topic", "partition"]
)
FETCH_ERRORS = Counter(
    "unitpool_consumer_fetch_errors_total",
    "Fetches that failed or held an unreadable record",
    ["topic"],
)
RECORDS_LOST = Counter(
    "unitpool_records_lost_total",
    "Records that were never read, at most: expired in Kafka, or skipped by an operator",
    ["topic", "reason"],
)
SET_ASIDE_KEYS = Gauge(
    "unitpool_set_aside_keys", "Keys whose records are set aside and retried, because their handler fails", ["topic"]
)
SET_ASIDE_RECORDS = Gauge("unitpool_set_aside_records", "Records set aside, at most 10,000 are counted", ["topic"])
UNREADABLE_ROWS = Counter(
    "unitpool_unreadable_rows_total",
    "Stored rows left out because they could not be decoded, counted at each read",
    ["table"],
)
RECORDS_FETCHED = Counter(
    "unitpool_consumer_records_fetched_total",
    "Records given to a batch, repeats included; those applied are unitpool_batch_records_total",
    ["topic"],
)
BATCH_SECONDS = Histogram(
    "unitpool_batch_seconds",
    "Seconds from the first attempt at a batch of records until it is applied",
    ["topic"],
    buckets=_FAST,
)
BATCH_RECORDS = Counter("unitpool_batch_records_total", "Records applied, each once", ["topic"])
BATCH_RETRIES = Counter(
    "unitpool_batch_retries_total", "Attempts at a batch that failed with a transient error", ["topic"]
)
DEAD_LETTERS = Counter("unitpool_dead_letters_total", "Records published as dead letters", ["topic", "reason"])

CLOCK_OFFSET_SECONDS = Gauge(
    "unitpool_clock_offset_seconds",
    "Seconds by which this process's clock is ahead of the database's, by which everything is decided",
)

OUTBOX_PENDING = Gauge("unitpool_outbox_pending", "Outbox rows that Kafka has not acknowledged yet")
OUTBOX_OLDEST_SECONDS = Gauge("unitpool_outbox_oldest_seconds", "Age of the oldest outbox row in seconds")
OUTBOX_SET_ASIDE = Gauge(
    "unitpool_outbox_set_aside", "Keys and topics whose outbox rows Kafka refuses, and which are retried"
)
OUTBOX_PUBLISHED = Counter("unitpool_outbox_published_total", "Outbox rows that Kafka acknowledged", ["topic"])

COMMANDS = Counter(
    "unitpool_commands_total",
    "Commands by outcome: accepted, refused, repeated, denied",
    ["command", "outcome"],
)
COMMAND_SECONDS = Histogram(
    "unitpool_command_seconds", "Seconds from a command's append to Kafka until its outcome is committed", buckets=_FAST
)

HTTP_REQUESTS = Counter("unitpool_http_requests_total", "HTTP requests answered", ["route", "status"])
HTTP_SECONDS = Histogram(
    "unitpool_http_request_seconds",
    "Seconds from an HTTP request until its answer is sent, streams excluded",
    ["route"],
    buckets=_FAST,
)

DEAD_LETTER_REASONS = ("handler_error", "malformed", "unsupported_type", "too_large")
COMMAND_REASONS = ("unsigned", "unknown_key", "forged", "no_actor")
COMMAND_OUTCOMES = ("accepted", "refused", "repeated", "denied")
LOSS_REASONS = ("expired", "skipped")
HTTP_STATUSES = ("200", "401", "404", "422", "500", "503")
"""Statuses whose counters exist from the start."""


def begin_topic(topic: str) -> None:
    """Create a topic's series at 0.

    Prometheus does not see the increase of a series that begins at 1.
    """
    for counter in (BATCH_RECORDS, BATCH_RETRIES, FETCH_ERRORS, RECORDS_FETCHED):
        counter.labels(topic=topic)
    for reason in DEAD_LETTER_REASONS:
        DEAD_LETTERS.labels(topic=topic, reason=reason)
    for reason in LOSS_REASONS:
        RECORDS_LOST.labels(topic=topic, reason=reason)
    for gauge in (SET_ASIDE_KEYS, SET_ASIDE_RECORDS, CONSUMER_HALTED, CONSUMER_LAG_RECORDS, CONSUMER_LAG_SECONDS):
        gauge.labels(topic=topic)


def begin_commands(topic: str, commands: Iterable[str]) -> None:
    """Create the series of a topic's commands at 0."""
    for reason in COMMAND_REASONS:
        DEAD_LETTERS.labels(topic=topic, reason=reason)
    for command in commands:
        for outcome in COMMAND_OUTCOMES:
            COMMANDS.labels(command=command, outcome=outcome)


def begin_routes(routes: Iterable[str]) -> None:
    """Create the series of these routes at 0."""
    for route in routes:
        for status in HTTP_STATUSES:
            HTTP_REQUESTS.labels(route=route, status=status)
